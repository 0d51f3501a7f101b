"""Paths to return to after a form or a sign-in.  They are paths of this server, below its prefix."""

from urllib.parse import quote, urlsplit

from flask import request

HOME = "/dashboard"


def local_path(path: str | None) -> str:
    """The path, if it is one of this server; else the dashboard.  No form leads to another site."""
    if not path or not path.startswith("/") or path[1:2] in ("/", "\\"):
        return HOME
    if any(ord(character) < 33 for character in path) or "\\" in path or urlsplit(path).netloc:
        return HOME
    return path


def here() -> str:
    """The address of this request, encoded as a browser sends it."""
    # The path is already decoded: escape it again.
    query = request.query_string.decode()
    return quote(request.path) + ("?" + query if query else "")


def came_from() -> str:
    """The page that sent this request, if it is one of this server; else the dashboard."""
    try:
        page = urlsplit(request.headers.get("HX-Current-URL") or request.referrer or "")
    except ValueError:
        return HOME
    prefix = request.script_root
    if page.netloc != request.host or not page.path.startswith(prefix):
        return HOME
    return local_path(page.path[len(prefix) :] + ("?" + page.query if page.query else ""))
