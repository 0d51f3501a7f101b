"""Which records the ranking by size has an entry for.

The ranking shows no more than RANKED records, so it needs none that as many others of its own stream
come before.  Most are such: their `ranked` is not set, and the index by size, whose pages an import
would change in any order, has no entry for them.

The versions of a stream are divided into blocks.  After each transaction this rule holds for records
without a rollup: **one that is not `ranked` has at least RANKED of its block before it that are.**  Whoever
has locked the stream sees to it:

- records that are added are chosen from (`choose`)
- if a ranked record is replaced, deleted or gets a rollup, the largest of its block are ranked (`fill`)
- a record with a rollup is `ranked` too: the index does not have it, unless another program clears the
  flag that hides it

A record's rank is by its size down, then by its key up.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from operator import itemgetter
from typing import Any

from ..database import among, execute, execute_many, id_list

RANKED = 25
BLOCK = 1024  # versions: `fill` reads so many entries of an index

Added = tuple[Any, ...]  # a row of `records` that is added: its stream, version, key, data, size, and more
version_of, _size_of = itemgetter(1), itemgetter(4)


def block_of(version: int) -> int:
    return version // BLOCK


def choose(largest: str, added: Sequence[Added]) -> tuple[set[int], str]:
    """The versions of those to be ranked, and what `largest` is afterwards; `added` is in order of version.

    `largest` is the stream's `largest_sizes`: a block and the sizes of the largest of its ranked records.
    """
    if not added:
        return set(), largest
    block, *sizes = map(int, (largest or "-1").split())
    ranked: set[int] = set()
    start = 0
    while start < len(added):
        at = block_of(version_of(added[start]))
        end = bisect_left(added, (at + 1) * BLOCK, start, key=version_of)
        known, block = sizes if at == block else [], at
        chosen, sizes = _choose(known, added[start:end])
        ranked |= chosen
        start = end
    return ranked, " ".join(map(str, [block, *sizes]))


def _choose(known: Sequence[int], added: Sequence[Added]) -> tuple[set[int], list[int]]:
    """The versions to be ranked, and the largest sizes; a record comes before its equals that are known."""
    sizes = sorted([*known, *map(_size_of, added)], reverse=True)
    least = sizes[min(RANKED, len(sizes)) - 1]
    entries = [(-row[4], 0, row[2], row[1]) for row in added if row[4] >= least]
    entries += [(-size, 1, "", 0) for size in known]
    first = sorted(entries)[:RANKED]
    return {version for _, is_known, _, version in first if not is_known}, [-entry[0] for entry in first]


def fill(blocks: Collection[tuple[int, int]]) -> None:
    """Rank the largest records of these (stream, block), after ranked ones were taken out."""
    execute_many(_FILL, [(*one, *one, *one, RANKED - 1) for one in _ranges(blocks)])


def take_out(stream_id: int, versions: Iterable[int]) -> None:
    """The same after records of these versions were taken out; the stream forgets `largest_sizes`."""
    blocks = {(stream_id, block_of(version)) for version in versions}
    if blocks:
        fill(blocks)
        execute("UPDATE streams SET largest_sizes = '' WHERE id = ?", [stream_id])


def choose_again(blocks: Collection[tuple[int, int]]) -> None:
    """Rank those of these (stream, block) that must be, whatever is stored.

    The streams forget `largest_sizes`.
    """
    execute_many(_RANK_WITH_ROLLUP, _ranges(blocks))
    fill(blocks)
    execute(
        f"""
        UPDATE streams
        SET largest_sizes = ''
        WHERE largest_sizes <> '' AND {among("id")}
        """,
        [id_list({stream_id for stream_id, _ in blocks})],
    )


def _ranges(blocks: Collection[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """The stream, first version and end of each."""
    return [(stream_id, block * BLOCK, (block + 1) * BLOCK) for stream_id, block in sorted(blocks)]


_IN_BLOCK = "stream_id = ? AND version >= ? AND version < ?"
# Sizes are read from one index, the versions to leave out from another, and rows only to be changed.
_FILL = f"""
    UPDATE records
    SET ranked = TRUE
    WHERE {_IN_BLOCK}
        AND json_bytes >= COALESCE(
            (
                SELECT json_bytes
                FROM records r
                WHERE {_IN_BLOCK}
                    AND version NOT IN (SELECT version FROM records WHERE {_IN_BLOCK} AND has_rollup)
                ORDER BY json_bytes DESC
                LIMIT 1 OFFSET ?
            ),
            0
        )
        AND NOT has_rollup
        AND NOT ranked
"""
_RANK_WITH_ROLLUP = f"UPDATE records SET ranked = TRUE WHERE {_IN_BLOCK} AND has_rollup AND NOT ranked"
