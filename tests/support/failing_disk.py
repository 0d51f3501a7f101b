"""A disk that fails, or a machine that dies, at a write of our choosing: a layer under SQLite.

It counts what reaches the files: writes, cuts, syncs and deletes.  Between two of those a kill finds
the files as they are, so that to die at each of them is to die at every moment there is.
"""

import os
import random
import signal
from typing import Any, Literal

import apsw

# torn: the process dies in the middle of a write; what it wrote is in the system's hands and arrives.
# power: the machine dies; of what was not synced, some arrives and some does not.
# fail: this one write fails.  full: it and all others from then on do, as on a full disk.
How = Literal["torn", "power", "fail", "full"]


class Disk(apsw.VFS):  # type: ignore[misc]  # apsw's stubs are not used
    """From here on every database of this process is on it."""

    def __init__(self, at: int, how: How) -> None:
        self.count, self.at, self.how = 0, at, how
        self.chance = random.Random(at)
        self.unsynced: dict[str, list[tuple[int, bytes]]] = {}
        self.base = apsw.vfs_names()[0]
        super().__init__("failing", self.base, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> "File":  # noqa: N802
        return File(self, name, flags)

    def xDelete(self, name: str, sync: bool) -> None:  # noqa: N802
        self.reached()
        super().xDelete(name, sync)

    def reached(self, tear: Any = lambda: None) -> None:
        """One more operation, and the end where it is the one."""
        self.count += 1
        if self.how in ("fail", "full"):
            if self.count == self.at or (self.how == "full" and self.count > self.at > 0):
                raise apsw.IOError if self.how == "fail" else apsw.FullError
        elif self.count == self.at:
            if self.how == "torn":
                tear()
            if self.how == "power":
                self.lose()
            signal.raise_signal(signal.SIGKILL)

    def lose(self) -> None:
        """Undo what was not synced, the last first: all of it, or each write by chance."""
        all_of_it = self.chance.random() < 0.5
        for name, writes in self.unsynced.items():
            descriptor = os.open(name, os.O_RDWR)
            for offset, before in reversed(writes):
                if all_of_it or self.chance.random() < 0.5:
                    os.pwrite(descriptor, before, offset)
            os.close(descriptor)


class File(apsw.VFSFile):  # type: ignore[misc]
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        self.disk = disk
        self.name = name.filename() if isinstance(name, apsw.URIFilename) else name
        super().__init__(disk.base, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self.disk.reached(lambda: super(File, self).xWrite(data[: len(data) // 2], offset))
        if self.disk.how == "power" and self.name:
            before = self._read(len(data), offset)
            self.disk.unsynced.setdefault(self.name, []).append((offset, before))
        super().xWrite(data, offset)

    def _read(self, length: int, offset: int) -> bytes:
        """What is there, or would be: a file is zeros where it was never written."""
        with open(self.name, "rb") as file:
            file.seek(offset)
            return file.read(length).ljust(length, b"\0")

    def xSync(self, flags: int) -> None:  # noqa: N802
        self.disk.reached()
        self.disk.unsynced.pop(self.name, None)
        super().xSync(flags)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self.disk.reached()
        super().xTruncate(size)
