"""Database failures as codes with fixed texts: a driver's own text is never passed on."""

import peewee


class DatabaseUnusable(Exception):
    """The configured database can't be used.  The message is for the operator."""


class DatabaseUnavailable(DatabaseUnusable):
    """It can't be used now, and the same call may succeed later."""


class FileMoved(peewee.OperationalError):
    """The path of the open database now names another file, or none."""


class DatabaseNotReady(peewee.OperationalError):
    """This program must not read or write the database in its present state."""


class SchemaUpgraded(DatabaseNotReady):
    """Another version of the program has migrated it, so this one would misread it."""


class TransferUnfinished(DatabaseNotReady):
    """A copy to this database is not finished: part of the data is missing."""


class DiskTooFull(Exception):
    """A disk has less room than some work needs.  The message says which one, and how much."""


class Busy(Exception):
    """Others hold a lock that was needed; nothing was done, and the same call can be repeated."""


PROBLEM_TEXT = {
    "busy": "the database is busy with another writer",
    "read_only": "the database is read-only",
    "full": "the disk or the database is full",
    "corrupt": "the database file is damaged",
    "not_a_database": "the file is not a database",
    "cannot_open": "the database file can't be opened",
    "moved": "the database file was moved, removed or replaced; put it back, or restart",
    "upgraded": "the database was upgraded by another version of this program; restart this one",
    "unfinished": "a copy to this database is not finished; run the same pdpp-ref copy again",
    "constraint": "the database refused a value",
    "input_output": "reading or writing the database file failed",
    "slow": "the database took too long",
    "no_room": "the database accepts no more connections",
    "unreachable": "the database can't be reached",
    "forbidden": "the database does not permit it",
    "other": "the database reported an error",
}

# Our own and APSW's.
_BY_TYPE = {
    "SchemaUpgraded": "upgraded",
    "TransferUnfinished": "unfinished",
    "BusyError": "busy",
    "LockedError": "busy",
    "ReadOnlyError": "read_only",
    "FullError": "full",
    "CorruptError": "corrupt",
    "NotADBError": "not_a_database",
    "CantOpenError": "cannot_open",
    "FileMoved": "moved",
    "ConstraintError": "constraint",
    "IOError": "input_output",
    "NoMemError": "corrupt",  # caused by a length in a corrupt page; a lack of memory kills the process
    "UnicodeDecodeError": "corrupt",
}

# SQLSTATEs, or the first two characters of a class of them.
_POSTGRES = {
    "08": "unreachable",
    "22": "constraint",
    "23": "constraint",
    "25006": "read_only",
    "25P03": "slow",  # idle_in_transaction_session_timeout
    "25P04": "slow",  # transaction_timeout
    "40001": "busy",  # serialization_failure
    "40P01": "busy",  # deadlock_detected
    "42501": "forbidden",
    "53100": "full",
    "53300": "no_room",
    "55P03": "busy",  # lock_not_available
    "57014": "slow",  # query_canceled, as by a time-out
    "57P01": "unreachable",  # shut down, or this connection ended by an administrator
    "57P02": "unreachable",
    "57P03": "unreachable",
    "57P05": "unreachable",
    "58": "input_output",
    "XX001": "corrupt",
    "XX002": "corrupt",
}


def of_driver(error: BaseException) -> BaseException:
    """The driver's error inside peewee's, which may be wrapped twice."""
    while inner := getattr(error, "orig", None):
        error = inner
    return error


def problem(error: BaseException) -> str:
    """A database error as one word: a key of PROBLEM_TEXT."""
    original = of_driver(error)
    if type(original).__module__.startswith("psycopg"):
        state = getattr(original, "sqlstate", None)
        if state is None:  # the driver's own: the connection is lost, or a value can't be sent
            return "constraint" if type(original).__name__ == "DataError" else "unreachable"
        return _POSTGRES.get(state) or _POSTGRES.get(state[:2], "other")
    return _BY_TYPE.get(type(original).__name__, "other")
