"""Tables as Parquet files; needs pyarrow, the extra `parquet`."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pyarrow
import pyarrow.parquet

from .export_columns import Column, Kind

ROWS_PER_GROUP, BYTES_PER_GROUP = 50_000, 8 * 1024 * 1024

_TYPES: dict[Kind, Any] = {
    Kind.TEXT: pyarrow.string(),
    Kind.WHOLE: pyarrow.int64(),
    Kind.NUMBER: pyarrow.float64(),
    Kind.BOOLEAN: pyarrow.bool_(),
    Kind.JSON: pyarrow.string(),
}


class ParquetTable:
    """Writes rows in groups, so that memory does not grow with the table."""

    def __init__(self, columns: Sequence[Column], out: Callable[[bytes], object]) -> None:
        self._columns = columns
        self._schema = pyarrow.schema([(column.name, _TYPES[column.kind]) for column in columns])
        self._writer = pyarrow.parquet.ParquetWriter(_Out(out), self._schema)
        self._rows: list[Sequence[Any]] = []
        self._size = 0

    def add(self, rows: Sequence[Sequence[Any]], size: int) -> None:
        self._rows += rows
        self._size += size
        if len(self._rows) >= ROWS_PER_GROUP or self._size >= BYTES_PER_GROUP:
            self._write_group()

    def close(self) -> None:
        self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        if not self._rows:
            return
        arrays = [
            pyarrow.array([_cell(row[place], column.kind) for row in self._rows], _TYPES[column.kind])
            for place, column in enumerate(self._columns)
        ]
        self._writer.write_table(pyarrow.Table.from_arrays(arrays, schema=self._schema))
        self._rows, self._size = [], 0


def _cell(value: Any, kind: Kind) -> Any:
    if kind is not Kind.NUMBER or value is None:
        return value
    return float(bytes(value) if type(value) is msgspec.Raw else value)


class _Out(io.RawIOBase):
    """A file to write to, as pyarrow wants one."""

    def __init__(self, out: Callable[[bytes], object]) -> None:
        self._out = out
        self._written = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, data: Any) -> int:
        block = bytes(data)
        self._out(block)
        self._written += len(block)
        return len(block)
