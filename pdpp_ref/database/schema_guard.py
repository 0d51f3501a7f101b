"""Checks in every transaction that the open database is still the one that was prepared.

Another process may migrate it, or begin to copy into it, at any time.  This process would then write
errors that no rebuild corrects, and misread what is stored.
"""

from .errors import SchemaUpgraded, TransferUnfinished

# One row of one table, because every transaction pays for it.
READ_SCHEMA = "SELECT version, unfinished FROM pdpp_ref_schema"


class SchemaGuard:
    """The part of a database object that makes the check.  Before `serve` there is none."""

    _version: int | None = None
    _is_transfer_target = False

    def serve(self, version: int | None, *, is_transfer_target: bool = False) -> None:
        """From here on every transaction finds this schema version, or raises SchemaUpgraded; None: any.

        `is_transfer_target`: this process copies into it.  Otherwise an unfinished copy raises
        TransferUnfinished.
        """
        self._version, self._is_transfer_target = version, is_transfer_target

    @property
    def is_checked(self) -> bool:
        return self._version is not None

    def check(self, version: int | None, unfinished: bool) -> None:
        """Raise if the row of READ_SCHEMA is not what is expected."""
        if version != self._version:
            raise SchemaUpgraded
        if unfinished and not self._is_transfer_target:
            raise TransferUnfinished
