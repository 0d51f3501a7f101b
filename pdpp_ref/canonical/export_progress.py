"""How far the import of an export has come: where its records go, and whether any are missing."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from ..parsing.messages import ExportBegin, ExportCounts, ExportSpelling, ExportStream
from . import export_streams
from .records import Target
from .restoring import Section

OpenFile = Callable[[str], Iterator[bytes] | None]


class SeveralConnections(Exception):
    """An export of several connections can't be given the name of one."""


@dataclass(frozen=True)
class Options:
    """`connection` and `connector` replace those of the export; both may be None.

    `open_file` gives the blocks of the file with a digest, or None if it is missing.
    """

    connection: str | None = None
    connector: str | None = None
    open_file: OpenFile = lambda _: None


@dataclass
class ExportProgress:
    """The export that is being imported, if there is one.

    `stream` is the one whose records follow, and `counts` the RECORD lines of each stream whose number
    has not been announced yet.
    """

    options: Options
    began_at: int | None = None
    stream: export_streams.Begun | None = None
    spellings: list[ExportSpelling] = field(default_factory=list)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _renamed: str | None = None

    @property
    def section(self) -> Section | None:
        return self.stream.section if self.stream else None

    def begin(self, message: ExportBegin, line: int) -> Iterator[str]:
        """A new export begins.  Yields gaps of the one before.  Raises SeveralConnections."""
        yield from self.gaps_at_end()
        if self.options.connection and message.connections > 1:
            raise SeveralConnections
        self.began_at, self.stream = line, None
        self.counts.clear()

    def target_of(self, declared: ExportStream) -> Target:
        """Where the records of a stream go.  Raises SeveralConnections."""
        if self.options.connection:
            if self._renamed not in (None, declared.connection):
                raise SeveralConnections
            self._renamed = declared.connection
        return Target(
            self.options.connection or declared.connection, self.options.connector or declared.connector
        )

    def begin_stream(self, begun: export_streams.Begun) -> None:
        self.stream = begun
        self.counts[begun.declared.connection, begun.declared.stream] += 0

    def count(self) -> None:
        """One more record of the stream."""
        if self.stream:
            self.counts[self.stream.declared.connection, self.stream.declared.stream] += 1

    def compare(self, announced: ExportCounts) -> Iterator[str]:
        """Yields each difference between the records that an export announces and those that were read."""
        for each in announced.counts:
            read = self.counts.pop((each.connection, each.stream), None)
            if read != each.records:
                yield (
                    f"the export announces {each.records:,} records of stream {each.stream!r} "
                    f"in connection {each.connection!r}, and {read or 0:,} were read"
                )
        if announced.is_end:
            yield from self._unannounced(self.counts)
            self.began_at = self.stream = None

    def _unannounced(self, counts: Mapping[tuple[str, str], int]) -> Iterator[str]:
        for (connection, stream), _ in counts.items():
            yield f"the export announces no records of stream {stream!r} in connection {connection!r}"

    def gaps_at_end(self) -> Iterator[str]:
        """A gap, if the export has no end."""
        if self.began_at is not None:
            yield (
                f"the export that begins at line {self.began_at} has no EXPORT_END: what follows is missing"
            )
        self.began_at = self.stream = None
