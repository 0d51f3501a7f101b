"""Compressed input in blocks: gzip, bzip2, xz and zstd, with any number of members, in flat memory.

A file may consist of several compressed members, one after the other: rotated logs that were joined,
or what `pigz` and `pzstd` write.  All of them are read.  After the last one, zero bytes are padding;
anything else, or a member that is cut off, raises Damaged after everything before it was yielded.
"""

import bz2
import importlib
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, Protocol

Block = bytes | None  # None: the source is idle

PART_BYTES = 256 * 1024
# A new member first gets only so much input: a decompressor copies the rest that it does not need, and a
# file may consist of a million members of 20 bytes.
FIRST_BYTES = 512
MOST_BYTES = 64 * 1024
_ZEROS = re.compile(rb"\0*")
XZ_MEMORY = 256 * 1024 * 1024  # `xz -9` takes 65 MB


class Damaged(Exception):
    """The compressed data ends here.  The message is a reason; `code` says which kind it is:
    "damaged", "cut_off" or "too_large".
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Unsupported(Exception):
    """The data is in a format that nothing installed can unpack; the message says what to do."""


class Decompressor(Protocol):
    """One member: the shape that bz2's, lzma's and zstd's decompressors have."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """zlib's decompressor in that shape."""

    def __init__(self) -> None:
        self._of_member = zlib.decompressobj(wbits=31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._of_member.eof

    @property
    def unused_data(self) -> bytes:
        return self._of_member.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        part = self._of_member.decompress(data or self._of_member.unconsumed_tail, max_length)
        self.needs_input = not self._of_member.unconsumed_tail and len(part) < max_length
        return part


class _Zstandard:
    """The `zstandard` package's decompressor in that shape; it has no limit for what it returns."""

    STEP = 256  # of input, which become 8 MB at most

    def __init__(self, module: Any) -> None:
        self._of_frame = module.ZstdDecompressor(max_window_size=2**27).decompressobj()
        self._given, self._made = b"", b""
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return bool(self._of_frame.eof) and not self._made

    @property
    def unused_data(self) -> bytes:
        return bytes(self._of_frame.unused_data) + self._given

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        self._given += data
        if not self._made and not self._of_frame.eof:
            step, self._given = self._given[: self.STEP], self._given[self.STEP :]
            self._made = self._of_frame.decompress(step)
        part, self._made = self._made[:max_length], self._made[max_length:]
        self.needs_input = not (self._made or self._given)
        return part


class Format(NamedTuple):
    """A way to compress.  `new` makes a decompressor for one member; `errors` are what it raises."""

    name: str
    magics: tuple[bytes, ...]
    new: Callable[[], Decompressor]
    errors: tuple[type[Exception], ...]


GZIP = Format("gzip", (b"\x1f\x8b",), _Gzip, (zlib.error,))
BZIP2 = Format("bzip2", (b"BZh",), bz2.BZ2Decompressor, (OSError, ValueError))
XZ = Format(
    "xz",
    (b"\xfd7zXZ\x00",),
    lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY),
    (lzma.LZMAError,),
)
# A file of `pzstd` begins with a frame that is skipped.
ZSTD_MAGICS = (b"\x28\xb5\x2f\xfd", *(bytes([0x50 + n]) + b"\x2a\x4d\x18" for n in range(16)))


def _zstd() -> Format:
    """Raises Unsupported unless Python 3.14 or one of two packages can read zstd."""
    for name in ("compression.zstd", "backports.zstd", "zstandard"):
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        new = partial(_Zstandard, module) if name == "zstandard" else module.ZstdDecompressor
        return Format("zstd", ZSTD_MAGICS, new, (module.ZstdError,))
    raise Unsupported(
        "is compressed with zstd, which this Python can't read: pip install backports.zstd, "
        "or pipe it in: zstd -dc FILE | pdpp-ref import ..."
    )


_FOUND: tuple[tuple[tuple[bytes, ...], Callable[[], Format]], ...] = (
    (GZIP.magics, lambda: GZIP),
    (BZIP2.magics, lambda: BZIP2),
    (XZ.magics, lambda: XZ),
    (ZSTD_MAGICS, _zstd),
)


def plain(blocks: Iterator[Block]) -> Iterator[Block]:
    """The blocks, unpacked if their first bytes show that they are compressed.

    Raises Damaged or Unsupported.  Of a slow pipe it waits only for the bytes that identify plain text.
    """
    start = b""
    for block in blocks:
        if block is None:
            yield None
            continue
        start += block
        made = _format_of(start)
        if made is None and not _may_become_magic(start):
            break
        if made is not None:
            yield from unpacked(_chained(start, blocks), made)
            return
    if start:
        yield start
    yield from blocks


def _format_of(start: bytes) -> Format | None:
    return next((make() for magics, make in _FOUND if start.startswith(magics)), None)


def _may_become_magic(start: bytes) -> bool:
    return any(magic.startswith(start) for magics, _ in _FOUND for magic in magics)


def _chained(start: bytes, rest: Iterator[Block]) -> Iterator[Block]:
    yield start
    yield from rest


def unpacked(blocks: Iterator[Block], made: Format, most: int | None = None) -> Iterator[Block]:
    """The unpacked blocks, in parts of at most PART_BYTES.  Raises Damaged.

    `most`: the most bytes to unpack, of all members together.
    """
    member: Decompressor | None = None
    first, total = True, 0
    for block in blocks:
        if block is None:
            yield None
            continue
        at, step = 0, MOST_BYTES
        while at < len(block) or (member is not None and not member.needs_input):
            if member is None:
                at += _padding(block, at, first)
                if at == len(block):
                    break
                member, step, first = made.new(), FIRST_BYTES, False
            given = block[at : at + step] if member.needs_input else b""
            at, step = at + len(given), min(2 * step, MOST_BYTES)
            part = _decompress(made, member, given)
            total += len(part)
            if most is not None and total > most:
                raise Damaged("too_large", f"the data unpacks to more than {most:,} bytes")
            if part:
                yield part
            if member.eof:
                at -= len(member.unused_data)
                member = None
    if member is not None or first:
        raise Damaged("cut_off", f"the {made.name} data is cut off")


def _padding(block: bytes, at: int, first: bool) -> int:
    """How many zero bytes come before the next member, or after the last one."""
    return 0 if first else len(_ZEROS.match(block, at)[0])  # type: ignore[index]  # it always matches


def _decompress(made: Format, member: Decompressor, given: bytes) -> bytes:
    try:
        return member.decompress(given, PART_BYTES)
    except made.errors as error:
        if "emory usage limit" in str(error):
            raise Damaged("damaged", f"the {made.name} data takes too much memory to unpack") from None
        raise Damaged("damaged", f"the {made.name} data is damaged") from None
