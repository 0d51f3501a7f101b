"""The parts of the application that views need, by name."""

import logging
from pathlib import Path

from flask import current_app

from ..canonical import erasure_file
from ..services.auto_reconcile import AutoReconcile
from ..services.background_rebuild import BackgroundRebuild
from ..services.prepared_files import PreparedFiles
from ..services.room import RecentRoom

log = logging.getLogger(__name__)


def auto_reconcile() -> AutoReconcile:
    """This process's passes; every read of the summary goes through it."""
    found: AutoReconcile = current_app.extensions["auto_reconcile"]
    return found


def background_rebuild() -> BackgroundRebuild:
    found: BackgroundRebuild = current_app.extensions["background_rebuild"]
    return found


def prepared_files() -> PreparedFiles:
    """The owner's downloads, which this process alone has."""
    found: PreparedFiles = current_app.extensions["prepared_files"]
    return found


def recent_room() -> RecentRoom:
    found: RecentRoom = current_app.extensions["recent_room"]
    return found


def add_to_erasure_file() -> None:
    """After an erasure, which stands even if the file can't be written: the next one adds both."""
    try:
        erasure_file.add_missing_lines(Path(current_app.instance_path))
    except OSError as error:
        log.error("the list of erasures in the instance folder can't be written: %s", error.strerror)
