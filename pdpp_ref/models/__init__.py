"""The tables.  Canonical ones hold what was received; the projection's rows are derived from them."""

from .base import Table, new_id
from .canonical import (
    Blob,
    BlobBinding,
    BlobChunk,
    Connection,
    ConnectorState,
    Erasure,
    KeySpelling,
    Record,
    RecordChange,
    RetentionRule,
    Stream,
    UnclaimedFile,
)
from .housekeeping import Pruning, SchemaVersion, Token, TransferState
from .projection import (
    MAY_RETAIN,
    STREAM_PREFIX,
    ConnectionSnapshot,
    DailySnapshot,
    GlobalSnapshot,
    GrainRow,
    MeasureColumns,
    RecountCheckpoint,
    RetainedSizeConnection,
    RetainedSizeConnector,
    RetainedSizeGlobal,
    RetainedSizeRecord,
    RetainedSizeStream,
    RollupCheckpoint,
    RollupCount,
    StreamSnapshot,
)
from .rows import STORED_STREAM_COLUMNS, StoredStream

__all__ = [
    "CANONICAL_TABLES",
    "CHECKPOINT_TABLES",
    "GRAIN_TABLES",
    "HOUSEKEEPING_TABLES",
    "MAY_RETAIN",
    "SNAPSHOT_TABLES",
    "STORED_STREAM_COLUMNS",
    "STREAM_PREFIX",
    "TABLES",
    "Blob",
    "BlobBinding",
    "BlobChunk",
    "Connection",
    "ConnectionSnapshot",
    "ConnectorState",
    "DailySnapshot",
    "Erasure",
    "GlobalSnapshot",
    "GrainRow",
    "KeySpelling",
    "MeasureColumns",
    "Pruning",
    "Record",
    "RecordChange",
    "RecountCheckpoint",
    "RetainedSizeConnection",
    "RetainedSizeConnector",
    "RetainedSizeGlobal",
    "RetainedSizeRecord",
    "RetainedSizeStream",
    "RetentionRule",
    "RollupCheckpoint",
    "RollupCount",
    "SchemaVersion",
    "StoredStream",
    "Stream",
    "StreamSnapshot",
    "Table",
    "Token",
    "TransferState",
    "UnclaimedFile",
    "new_id",
]

# Each table comes after those that it refers to.
HOUSEKEEPING_TABLES: tuple[type[Table], ...] = (SchemaVersion, TransferState, Pruning)
CANONICAL_TABLES: tuple[type[Table], ...] = (
    Connection,
    Stream,
    RetentionRule,
    Record,
    RecordChange,
    KeySpelling,
    Blob,
    BlobChunk,
    BlobBinding,
    UnclaimedFile,
    ConnectorState,
    Erasure,
)
GRAIN_TABLES: tuple[type[Table], ...] = (RetainedSizeStream, RetainedSizeConnection, RetainedSizeGlobal)
SNAPSHOT_TABLES: tuple[type[Table], ...] = (StreamSnapshot, ConnectionSnapshot, GlobalSnapshot)
CHECKPOINT_TABLES: tuple[type[Table], ...] = (RecountCheckpoint, RollupCheckpoint, RollupCount)
TABLES: tuple[type[Table], ...] = (
    *HOUSEKEEPING_TABLES,
    *CANONICAL_TABLES,
    Token,
    RetainedSizeRecord,
    *GRAIN_TABLES,
    RetainedSizeConnector,
    *SNAPSHOT_TABLES,
    *CHECKPOINT_TABLES,
)
