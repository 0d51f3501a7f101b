"""The key properties of a Singer stream, each with one JSON type.

Otherwise two values of different types would be one key (`1` and `"1"`), and other key properties would
add every record a second time.
"""

import json
from collections.abc import Sequence
from hashlib import sha256

import msgspec

from ..database import (
    execute,
    fetch_all,
    fetch_each,
    insert_many,
)
from ..models import KeySpelling, StoredStream
from ..parsing.json_lines import stored_record
from ..parsing.keys import KeyProperties, KeySchema, canonical_number
from ..parsing.messages import Change, Rejected
from .key_states import stored_keys

UNKNOWN = "null"  # for a stream with records from before key schemas were stored


class StreamKeys:
    """The key schema of a stream, whose lock is held.  `stored()` gives the values for its row."""

    def __init__(self, stream: StoredStream) -> None:
        self._stream_id = stream.id
        self._schema: KeySchema | None = _schema(stream.key_schema)
        self._is_unknown = stream.key_schema == UNKNOWN
        self._respelled = stream.respelled_keys
        self._others_differ = False
        self._holds_records: bool | None = None

    def stored(self) -> tuple[str | None, bool]:
        if self._schema is None:
            return UNKNOWN if self._is_unknown else None, self._respelled
        return stored_key_schema(self._schema), self._respelled

    def accepted(self, changes: Sequence[Change], refused: list[tuple[int, str]]) -> list[Change]:
        """Changes that fit the stream's other records; `refused` gets the positions of the others."""
        if all(change.key_schema is None for change in changes):  # they all fit
            self._holds_records = self._holds_records or any(change.data is not None for change in changes)
            return list(changes)
        fitting = []
        for place, change in enumerate(changes):
            if reason := self._refusal(change):
                refused.append((place, reason))
            else:
                fitting.append(change)
        return self._spelled(fitting) if self._respelled else fitting

    def _refusal(self, change: Change) -> str | None:
        is_upsert = change.data is not None
        if change.key_schema is not None:
            if change.key_schema == self._schema:
                self._holds_records = self._holds_records or is_upsert
                return None
            if reason := self._mismatch(change.key_schema, is_upsert):
                return reason
        if is_upsert:
            self._holds_records = True
        return None

    def _mismatch(self, sent: KeySchema, is_upsert: bool) -> str | None:
        if self._is_unknown and not self._others_differ and self._is_filled():
            self._derive(sent)
        if _names(self._schema) != _names(sent):
            if self._others_differ or (self._schema is not None and self._is_filled()):
                return _other_properties(sent, self._schema)
            if is_upsert:
                self._adopt(sent)
            return None
        assert self._schema is not None
        for (name, kind), (_, known) in zip(sent, self._schema, strict=True):
            if kind and known and kind != known:
                return (
                    f"key property {name!r} is a {kind} here, and a {known} in the stream's other records"
                )
        if is_upsert:
            self._schema = tuple(
                (name, known or kind) for (name, kind), (_, known) in zip(sent, self._schema, strict=True)
            )
        return None

    def _is_filled(self) -> bool:
        """Whether the stream holds a record, this write's included."""
        if self._holds_records is None:
            of_stream = "SELECT 1 FROM records WHERE stream_id = ? LIMIT 1"
            self._holds_records = bool(fetch_all(of_stream, [self._stream_id]))
        return self._holds_records

    def _adopt(self, sent: KeySchema) -> None:
        self._schema, self._is_unknown = sent, False
        if self._respelled:
            execute("DELETE FROM key_spellings WHERE stream_id = ?", [self._stream_id])
            self._respelled = False

    # ---- streams from before key schemas were stored --------------------------------------

    def _derive(self, sent: KeySchema) -> None:
        """From the newest record: it is keyed by the sent properties, by others, or that is unknown."""
        newest = fetch_all(
            """
            SELECT key, data
            FROM records
            WHERE stream_id = ?
            ORDER BY version DESC
            LIMIT 1
            """,
            [self._stream_id],
        )
        if not newest:
            return  # all records are part of this write
        key, data = newest[0]
        derived = _schema_of(key, data, _names(sent) or ())
        if derived is not None:
            self._schema, self._is_unknown = derived, False
            self._respelled = self._find_spellings(derived)
        else:
            self._others_differ = _is_key_of_something(key, data)

    def _find_spellings(self, schema: KeySchema) -> bool:
        """Store the spelling of keys that would be spelt differently now; True if there are any."""
        if not any(kind == "number" for _, kind in schema):
            return False
        spellings: dict[str, str] = {}
        for table in ("retained_size_record", "records"):
            for key in stored_keys(table, self._stream_id):
                if (canonical := _canonical(key, schema)) != key:
                    spellings[canonical] = key
        for table in ("retained_size_record", "records"):
            for canonical in self._existing(table, list(spellings)):
                spellings.pop(canonical, None)
        rows = [(self._stream_id, canonical, key) for canonical, key in spellings.items()]
        insert_many(KeySpelling, ("stream_id", "key", "spelling"), rows, ("stream_id", "key"))
        return bool(rows)

    def _existing(self, table: str, keys: Sequence[str]) -> list[str]:
        rows = fetch_each(
            f"""
            SELECT key
            FROM {table}
            WHERE stream_id = ? AND key = :each
            """,
            [self._stream_id],
            keys,
        )
        return [key for (key,) in rows]

    def _spelled(self, changes: list[Change]) -> list[Change]:
        sent = sorted({change.key for change in changes if change.key_schema is not None})
        rows = fetch_each(
            """
            SELECT key, spelling
            FROM key_spellings
            WHERE stream_id = ? AND key = :each
            """,
            [self._stream_id],
            sent,
        )
        spellings: dict[str, str] = dict(rows)
        return [
            msgspec.structs.replace(change, key=spellings[change.key])
            if change.key_schema is not None and change.key in spellings
            else change
            for change in changes
        ]


def stored_key_schema(schema: KeySchema | None) -> str | None:
    """A key schema as the column has it."""
    return None if schema is None else json.dumps(schema, ensure_ascii=False)


class _Number(str):
    """A number with its spelling."""


def _schema(text: str | None) -> KeySchema | None:
    return tuple((name, kind) for name, kind in json.loads(text)) if text and text != UNKNOWN else None


def _names(schema: KeySchema | None) -> tuple[str, ...] | None:
    return None if schema is None else tuple(name for name, _ in schema)


def _other_properties(sent: KeySchema, stored: KeySchema | None) -> str:
    others = "in another way" if stored is None else f"by {_listed(stored)}"
    return (
        f"the records are keyed by {_listed(sent)}, and the stream's other records {others}; "
        "send them to another stream, or delete this one first"
    )


def _listed(schema: KeySchema) -> str:
    return ", ".join(repr(name) for name, _ in schema) or "their content"


def _schema_of(key: str, data: str, names: Sequence[str]) -> KeySchema | None:
    """The types of a record's key properties; None if they do not give its key."""
    try:
        record, mark = stored_record(data)
        made, schema = KeyProperties(names).key(record, data, mark)
    except Rejected:
        return None
    return schema if _canonical(key, schema) == made else None


def _is_key_of_something(key: str, data: str) -> bool:
    """Whether a key consists of the record's data; a Collection Profile sender may choose any key."""
    if key == "sha256:" + sha256(data.encode()).hexdigest():
        return True
    record = json.loads(data, parse_int=_Number, parse_float=_Number)
    texts = {str(value) for value in record.values() if isinstance(value, str)}
    texts |= {str(value).lower() for value in record.values() if isinstance(value, bool)}
    try:
        parts = json.loads(key)
    except ValueError:
        parts = None
    if isinstance(parts, list) and len(parts) > 1:
        return all(part is None or part in texts for part in parts)
    return key in texts


def _canonical(key: str, schema: KeySchema) -> str:
    """A stored key with its numbers as they are spelt today; unchanged if it does not fit the schema."""
    try:
        if len(schema) == 1:
            return canonical_number(key) if schema[0][1] == "number" else key
        parts = json.loads(key)
        return _array(
            [
                canonical_number(part) if kind == "number" and part is not None else part
                for part, (_, kind) in zip(parts, schema, strict=True)
            ]
        )
    except (ValueError, TypeError, Rejected):
        return key


def _array(parts: Sequence[str | None]) -> str:
    return json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
