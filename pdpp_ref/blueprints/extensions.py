"""The parts of the application that views need, by name."""

from flask import current_app

from ..services.auto_reconcile import AutoReconcile
from ..services.background_rebuild import BackgroundRebuild
from ..services.prepared_files import PreparedFiles


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
