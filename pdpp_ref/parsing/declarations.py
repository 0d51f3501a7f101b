"""What SCHEMA and STREAM lines declare about the streams that follow, in bounded memory."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from .json_lines import Rejected
from .keys import KeyProperties

# About as much memory as all declarations may take: those of 25,000 usual streams.
MAX_BYTES = 32 * 1024 * 1024
STREAM_BYTES, NAME_BYTES = 1_000, 100  # what a stream and each of its names take besides their text
FULL = "more streams are declared than one import can have; import them in parts"


@dataclass
class _Stream:
    """`keys` is why the stream's SCHEMA was refused, if it was."""

    keys: KeyProperties | str | None = None
    time_field: str | None = None

    def size(self, name: str) -> int:
        names = [name, self.time_field or ""]
        if isinstance(self.keys, KeyProperties):
            names += self.keys.names
        return STREAM_BYTES + sum(NAME_BYTES + len(each) for each in names)


class Declarations:
    """By stream.  Time fields that are given from outside override those that lines declare."""

    def __init__(self, given: Mapping[str | None, str]) -> None:
        """`given`: the field with the record time by stream; under None, that of all other streams."""
        self._given = given
        self._default_time_field = given.get(None)
        # Whether any stream has one: most input declares none, and is asked about each record.
        self.has_time_fields = bool(given)
        self._size = 0
        self._streams: dict[str, _Stream] = {}
        for name in given:
            if name is not None:
                self.add_time_field(name, None)

    def keys(self, stream: str) -> KeyProperties | str | None:
        """The key properties, or why the SCHEMA was refused, or None if there was none."""
        known = self._streams.get(stream)
        return known.keys if known else None

    def time_field(self, stream: str) -> str | None:
        known = self._streams.get(stream)
        return known.time_field if known else self._default_time_field

    def add_schema(self, stream: str, keys: KeyProperties, time_field: str | None) -> None:
        """Raises Rejected if there is no room for it."""
        self._put(stream, keys, time_field)

    def add_time_field(self, stream: str, time_field: str | None) -> None:
        """Raises Rejected if there is no room for it."""
        self._put(stream, self.keys(stream), time_field)

    def refuse_schema(self, stream: str, reason: str) -> None:
        """The SCHEMA before it no longer holds.  Without room, only the reason is forgotten."""
        with suppress(Rejected):
            self._put(stream, reason, self.time_field(stream))

    def _put(self, stream: str, keys: KeyProperties | str | None, time_field: str | None) -> None:
        if None in self._given or stream in self._given:
            time_field = self._given.get(stream, self._default_time_field)
        declared, known = _Stream(keys, time_field), self._streams.get(stream)
        size = self._size + declared.size(stream) - (known.size(stream) if known else 0)
        if size > MAX_BYTES:
            raise Rejected(FULL)
        self._streams[stream] = declared
        self.has_time_fields = self.has_time_fields or time_field is not None
        self._size = size
