"""One range of a file's bytes, as RFC 9110 has it.  Whatever else is asked for gets the whole file."""

import re

_RANGE = re.compile(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", re.ASCII | re.IGNORECASE)
_MOST_DIGITS = 18


class Unsatisfiable(Exception):
    """The file has none of the bytes."""


def single_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The first byte, and the one after the last; None is the whole file.  Raises Unsatisfiable.

    Several ranges, another unit and a range of an empty file count as none.
    """
    found = _RANGE.fullmatch(header or "")
    if not found or not size or found[1] == found[2] == "":
        return None
    first, last = map(_number, found.groups())
    if first is None:
        if not last:
            raise Unsatisfiable
        return max(size - last, 0), size
    if last is not None and last < first:
        return None
    if first >= size:
        raise Unsatisfiable
    return first, size if last is None else min(last + 1, size)


def _number(digits: str) -> int | None:
    """A number that is longer than any file counts as one that is larger."""
    plain = digits.lstrip("0") or digits[:1]
    return None if not digits else int(plain) if len(plain) <= _MOST_DIGITS else 10**_MOST_DIGITS
