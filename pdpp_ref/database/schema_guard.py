"""Whether the open database is still the one that was prepared: asked in every transaction.

Another process may migrate it, or begin to copy into it, at any time.  What this one would write then
is wrong in a way that no rebuild corrects, and what it would read means something else.
"""

from .errors import SchemaUpgraded, TransferUnfinished

# What is looked up, in one row of one table: every transaction pays for it.
LOOK, OF = "version, unfinished", "FROM pdpp_ref_schema"


class Served:
    """What a database object knows of it.  Nothing is asked before `serve` was called."""

    _version: int | None = None
    _is_filled = False

    def serve(self, version: int | None, *, filled: bool = False) -> None:
        """From here on every transaction finds this schema version, or raises SchemaUpgraded; None: any.

        `filled`: it is this process that copies into it.  Otherwise an unfinished copy raises
        TransferUnfinished.
        """
        self._version, self._is_filled = version, filled

    @property
    def is_checked(self) -> bool:
        return self._version is not None

    def check(self, version: int | None, unfinished: bool) -> None:
        """Judges what LOOK has found."""
        if version != self._version:
            raise SchemaUpgraded
        if unfinished and not self._is_filled:
            raise TransferUnfinished
