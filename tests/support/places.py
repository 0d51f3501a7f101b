"""Where tests put their files."""

import os
import shutil
from pathlib import Path

MEMORY = Path("/dev/shm")
ROOM_BYTES = 4 * 1024**3


def fast_folder() -> Path:
    """Memory if there is much, for what need not outlive a loss of power: nothing waits for the disk there."""
    has_room = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM_BYTES
    return MEMORY if has_room else Path("/tmp")
