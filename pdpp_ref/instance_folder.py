"""The folder of the database and the generated secrets: where it is, and who can read it."""

import sys
from contextlib import suppress
from pathlib import Path
from shlex import quote

from . import notices, private_files
from .config import InvalidSetting, Settings

PACKAGE = Path(__file__).resolve().parent
# A folder that holds one of these has been used.
INSTANCE_FILES = ("pdpp-ref.sqlite3", "owner_password.hash", "operator_token.hash", "secret_key")
UNUSABLE = "the instance folder can't be used; set PDPP_INSTANCE_PATH to a folder that you can write to"


def path_for(settings: Settings, package: Path = PACKAGE) -> Path:
    """The folder that is set; otherwise `instance/` in a checkout, or the user's data folder.

    A folder inside an environment is lost on reinstall, so one is used only if it already has data.
    """
    if settings.instance_path:
        return Path(settings.instance_path).resolve()
    if (package.parent / "pyproject.toml").is_file() and not (package / "templates").is_dir():
        return package.parent / "instance"
    import platformdirs  # an installed program needs it, and only if nothing is set

    user_data = platformdirs.user_data_path("pdpp-ref", appauthor=False).resolve()
    return _choose(in_environment(package), user_data)


def create(settings: Settings) -> Path:
    """The folder, which only its owner can open.  Raises InvalidSetting."""
    folder = path_for(settings)
    try:
        private_files.make_folder(folder)
    except OSError:
        raise InvalidSetting(UNUSABLE) from None
    return folder


def warn_if_open(folder: Path) -> None:
    """An existing folder keeps its permissions: whoever chose them may have had a reason."""
    if private_files.is_open_to_others(folder):
        notices.show_once(
            f"Others can look into the instance folder.  Close it with: chmod 700 {quote(str(folder))}"
        )


def remember_database(folder: Path, identity: str) -> str | None:
    """Store which database is in use.  Returns which one was before; None if that is not known."""
    file = folder / "database_id"
    with suppress(OSError):
        before = file.read_text() if file.exists() else None
        if before != identity:
            private_files.replace(file, identity)
        return before
    return None


def in_environment(package: Path) -> Path:
    """Where Flask puts an instance folder by default, as the first versions of this program did."""
    site, prefix = package.parent, Path(sys.prefix).absolute()
    if not site.is_relative_to(prefix):
        if site.name.lower() != "site-packages":
            return site / "instance"
        # lib/pythonX.Y/site-packages or, on Windows, lib/site-packages
        above = (site.parent, site.parent.parent)
        prefix = next((folder.parent for folder in above if folder.name.lower() == "lib"), site.parent)
    return prefix / "var" / f"{package.name}-instance"


def _choose(former: Path, current: Path) -> Path:
    """The folder that has been used; the current one if both or neither have."""
    if not _is_used(former):
        return current
    if _is_used(current):
        notices.show_once(f"Not used: the data in {former}, because there is data in {current}, too.")
        return current
    move = f"mkdir -p {quote(str(current.parent))} && mv {quote(str(former))} {quote(str(current))}"
    if current.exists():
        move = f"mv {quote(str(former))}/* {quote(str(current))}"
    notices.show_once(
        f"A reinstall may delete the data, which is in the environment.  Stop and run: {move}"
    )
    return former


def _is_used(folder: Path) -> bool:
    try:
        return any((folder / name).exists() for name in INSTANCE_FILES)
    except OSError:
        return False
