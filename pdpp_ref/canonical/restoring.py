"""Giving the versions in an export the numbers that they have there.

They keep their numbers if the stream holds nothing but the beginning of the export: nothing at all, what
an interrupted import has stored, or an earlier export.  Otherwise its lines are events like any others,
and the rules for unchanged events apply.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec

from ..database import fetch_each, fetch_value
from ..models import StoredStream
from ..parsing.messages import Change, Exported


@dataclass(frozen=True)
class Section:
    """The part of an export that is one stream, and how far its import has come.

    `begun_at` is the stream's last version when the section began, and `matched` how many versions up to
    it are equal to the export's.  `through` is the last version that this import has left.
    `is_declared`: the stream's row says what the export's declaration says.
    """

    begun_at: int
    through: int
    is_declared: bool
    matched: int = 0
    is_appending: bool = False
    is_diverged: bool = False


class Placed(NamedTuple):
    """Changes to plan, and those that are stored already under their number.

    Among the former, only those that get the number of the export have it still.
    """

    section: Section
    changes: list[Change]
    stored: list[Change]


def place(section: Section, stream: StoredStream, changes: Sequence[Change]) -> Placed:
    """Decide which changes get the number that the export gives them; the stream is locked."""
    if stream.last_version != section.through:  # somebody else has written to it
        section = replace(section, is_diverged=True)
    equal = _equal_versions(section, stream.id, changes)
    placed = Placed(section, [], [])
    for change in changes:
        number = change.exported.version if change.exported else None
        section = _next(section, stream.id, number, equal)
        if number is None or section.is_diverged:
            placed.changes.append(_without_number(change))
        elif section.is_appending:
            placed.changes.append(_as_exported(change, section, stream))
            section = replace(section, through=number)
        else:
            placed.stored.append(_as_exported(change, section, stream))
    return placed._replace(section=section)


def _next(section: Section, stream_id: int, number: int | None, equal: set[int]) -> Section:
    """The section once the next version's number is known."""
    if number is None or section.is_diverged:
        return section
    if section.is_appending:
        return section if number > section.through else replace(section, is_diverged=True)
    if number in equal:
        return replace(section, matched=section.matched + 1)
    if number > section.begun_at and is_beginning(section, stream_id):
        return replace(section, is_appending=True)
    return replace(section, is_diverged=True)


def is_beginning(section: Section, stream_id: int) -> bool:
    """Whether all that the stream held when the section began was found in the export."""
    if section.begun_at == 0:
        return True
    stored = fetch_value(
        "SELECT COUNT(*) FROM record_changes WHERE stream_id = ? AND version <= ?",
        (stream_id, section.begun_at),
    )
    return bool(stored == section.matched)


def _equal_versions(section: Section, stream_id: int, changes: Sequence[Change]) -> set[int]:
    """The numbers under which the stream holds the same version as the export."""
    if section.is_appending or section.is_diverged:
        return set()
    numbered = {
        change.exported.version: change
        for change in changes
        if change.exported and change.exported.version and change.exported.version <= section.begun_at
    }
    rows = fetch_each(
        """
        SELECT version, key, data, emitted_at
        FROM record_changes
        WHERE stream_id = ? AND version = :each
        """,
        [stream_id],
        list(numbered),
    )
    return {
        version
        for version, *stored in rows
        if stored == [numbered[version].key, numbered[version].data, numbered[version].emitted_at]
    }


def _as_exported(change: Change, section: Section, stream: StoredStream) -> Change:
    """With the record time that the export has, whatever its field holds."""
    if not section.is_declared or change.exported is None:
        return change
    return msgspec.structs.replace(
        change, record_time=change.exported.record_time, record_time_field=stream.record_time_field
    )


def _without_number(change: Change) -> Change:
    return msgspec.structs.replace(change, exported=Exported())
