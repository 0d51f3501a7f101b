"""The data of the pages on which an owner makes room; see `pages`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Annotated, Any, ClassVar, Literal, NamedTuple
from urllib.parse import urlencode

from flask import url_for
from msgspec import Meta, Struct

from ...canonical.foresight import Foreseen
from ...canonical.prunings import Report, Request
from ...canonical.retention import Policy, Pruned
from ...canonical.retention_rules import Rule
from ...models.measures import Measures
from ...queries.prunable import Counted, Prunable
from ...schemas.types import Connection, Key, Stream

MAX_KEEP = 1_000_000
LISTED_STREAMS = 30

_NUMBER = r"\d{1,18}"
_COUNTED = re.compile(
    rf"({_NUMBER}(?:\.{_NUMBER}){{6}})((?:~{_NUMBER}\.{_NUMBER}){{0,{LISTED_STREAMS}}})", re.ASCII
)


Keep = Annotated[int, Meta(ge=1, le=MAX_KEEP)]


class RoomQuery(Struct):
    connection: Connection = ""
    stream: Stream = ""
    keep: Annotated[Keep | None, Meta(description="Preview retaining so many versions of each record.")] = (
        None
    )
    before: Annotated[
        str, Meta(description="Preview pruning what arrived before this day, as 2026-01-31.")
    ] = ""
    counted: Annotated[str, Meta(description="How far the bytes have been counted.")] = ""
    rule: Annotated[
        Literal["", "set", "removed"], Meta(description="Say what has just become of the rule.")
    ] = ""


class DeleteQuery(Struct):
    connection: Connection = ""
    stream: Stream = ""
    key: Key = ""


def counted_text(foreseen: Foreseen) -> str:
    """How far bytes have been counted, as numbers that a link can have."""
    freed, exact = foreseen.freed, int(foreseen.is_exact)
    numbers = (foreseen.stream_id, foreseen.through_version, *freed, exact)
    return ".".join(map(str, numbers)) + "".join(f"~{each}.{size}" for each, size in foreseen.sizes.items())


def foreseen_from(text: str) -> Foreseen:
    """The reverse of `counted_text`; from the beginning if the text is none."""
    found = _COUNTED.fullmatch(text)
    if found is None:
        return Foreseen()
    stream_id, through_version, *freed, exact = map(int, found[1].split("."))
    pairs = [each.split(".") for each in found[2].split("~")[1:]]
    sizes = {int(stream): int(size) for stream, size in pairs}
    return Foreseen(stream_id, through_version, Pruned(*freed), sizes, bool(exact))


class Scope(NamedTuple):
    """Everything, a connection, or a stream of one; `""` is no name."""

    connection: str = ""
    stream: str = ""

    def request(self, policy: Policy) -> Request:
        return Request(policy, self.connection or None, self.stream or None)

    @property
    def names(self) -> dict[str, str]:
        return {name: value for name, value in self._asdict().items() if value}


@dataclass(frozen=True)
class Preview:
    """What pruning would remove: versions by stream, counted at once, and bytes, `foreseen` so far."""

    scope: Scope
    policy: Policy
    counted: Counted
    foreseen: Foreseen

    @property
    def listed(self) -> Sequence[Prunable]:
        return self.counted.streams[:LISTED_STREAMS]

    @property
    def left_out(self) -> int:
        return len(self.counted.streams) - len(self.listed)

    @property
    def parameters(self) -> dict[str, Any]:
        if self.policy.before is None:
            return {**self.scope.names, "keep": self.policy.keep}
        return {**self.scope.names, "before": self.policy.before[:10]}

    @property
    def rest(self) -> dict[str, Any]:
        """The parameters that continue to count."""
        return {**self.parameters, "counted": counted_text(self.foreseen)}

    @property
    def is_least(self) -> bool:
        """Whether there may be more bytes than have been counted."""
        return not (self.foreseen.is_done and self.foreseen.is_exact)

    def size(self, stream: Prunable) -> int | None:
        """The bytes of a stream, or None while they are being counted."""
        known = self.foreseen.is_done or stream.stream_id < self.foreseen.stream_id
        return self.foreseen.sizes.get(stream.stream_id, 0) if known else None


@dataclass(frozen=True)
class RoomPage:
    """Where an owner chooses what to prune, sees what that frees, and asks for it.

    `rules` and `reports` are those of the scope; `request_id` makes a form that is sent twice one request.
    """

    template: ClassVar[str] = "room.html"
    state: ClassVar[None] = None
    scope: Scope
    preview: Preview | None
    rules: list[Rule]
    reports: list[Report]
    rule: Literal["", "set", "removed"] = ""
    request_id: str = field(default_factory=lambda: token_hex(16))

    @property
    def rule_of_stream(self) -> Rule | None:
        return self.rules[0] if self.scope.stream and self.rules else None


@dataclass(frozen=True)
class PreviewFragment:
    """The part of that page that changes while bytes are counted."""

    template: ClassVar[str] = "_room_fragment.html"
    preview: Preview


@dataclass(frozen=True)
class PruningPage:
    """How far a request is, and in the end what was done."""

    template: ClassVar[str] = "pruning.html"
    state: ClassVar[None] = None
    report: Report


@dataclass(frozen=True)
class PruningFragment:
    """The polled part of that page.  `announce`: it has just been finished."""

    template: ClassVar[str] = "_pruning_fragment.html"
    report: Report
    announce: bool


@dataclass(frozen=True)
class DeletePage:
    """Asks whether to delete something.  `measures` are from `as_of`, and None if they are not known.

    `seen` identifies what is shown, so that nothing later of the same name is deleted.
    """

    template: ClassVar[str] = "delete.html"
    state: ClassVar[None] = None
    connection: str
    stream: str
    key: str
    measures: Measures | None
    as_of: str | None
    is_current: bool
    seen: str

    @property
    def kind(self) -> Literal["connection", "stream", "record"]:
        return "record" if self.key else "stream" if self.stream else "connection"


class Done(Struct):
    """What was deleted, and when; `names` are those of its connection and stream, perhaps shortened.

    The numbers are what it was counted to be, if that was known.
    """

    kind: Literal["connection", "stream", "record"]
    how: Literal["delete", "erase"]
    names: list[str]
    at: str
    records: int | None = None
    versions: int | None = None
    files: int | None = None
    size: int | None = None


@dataclass(frozen=True)
class DonePage:
    """What was just deleted; None if it was gone already."""

    template: ClassVar[str] = "deleted.html"
    state: ClassVar[None] = None
    done: Done | None


def room_url(**names: Any) -> str:
    """The page to make room on, for a connection, a stream or everything."""
    return url_for("room.room", **{name: value for name, value in names.items() if value})


def delete_url(connection: str, stream: str = "", key: str = "") -> str:
    names = {"connection": connection, "stream": stream, "key": key}
    return url_for("deletes_by_owner.ask") + "?" + urlencode({k: v for k, v in names.items() if v})
