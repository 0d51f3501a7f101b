"""Metrics worth an alert that are not about the totals: sources, backups, disks, replicas, busy threads.

Connections have numbers here and no names, which may be personal: monitoring systems keep labels for long.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import peewee
from flask import Flask
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from .. import backup_time
from ..database import Busy, condition, db, impatient, read_snapshot
from ..lane_use import LaneUse
from ..projection.rows import global_row
from ..queries import silence
from ..services import room, summary
from ..timestamps import to_moment
from .metrics import DATABASE_SECONDS


def init_app(app: Flask) -> None:
    """After `metrics.init_app`, whose registry it adds to."""
    app.extensions["lane_use"] = LaneUse()
    app.extensions["metrics"].register(_Alerting(Path(app.instance_path), app.extensions["lane_use"]))


@dataclass(frozen=True)
class _Stored:
    """What only the database knows.  `rebuilt`: the part of a running rebuild that is done, from 0 to 1.

    `lag_seconds` is None on a primary.
    """

    arrivals: list[silence.LastArrival]
    silent: int
    size_bytes: int
    lag_seconds: float | None
    rebuilt: float | None


def _read() -> _Stored | None:
    """A fixed number of rows, however much is stored; None if the database does not answer."""
    try:
        with impatient(DATABASE_SECONDS), read_snapshot():
            totals = global_row()
            running = totals.rebuild_status == "running"
            progress = summary.progress_of(totals) if running else None
            return _Stored(
                arrivals=silence.longest(),
                silent=silence.count(),
                size_bytes=condition.size_bytes(),
                lag_seconds=condition.lag_seconds(),
                rebuilt=progress.counted / max(1, progress.total) if progress else None,
            )
    except (Busy, peewee.DatabaseError):
        return None


class _Alerting(Collector):
    def __init__(self, folder: Path, lanes: LaneUse) -> None:
        self._folder = folder
        self._lanes = lanes

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("pdpp_build", "The program.", value={"version": version("pdpp-ref")})
        about = "Requests that have a thread, by lane, in all processes."
        yield _gauge("pdpp_busy_threads", about, "lane", self._lanes.busy())
        about = "Space that the program's user can still fill, by folder."
        yield _gauge("pdpp_disk_free_bytes", about, "folder", dict(self._free_bytes()))
        if backup := backup_time.read(self._folder):
            about = "When `pdpp-ref backup` last succeeded."
            yield GaugeMetricFamily("pdpp_last_backup_timestamp_seconds", about, value=backup)
        if stored := _read():
            yield from _of_database(stored)

    def _free_bytes(self) -> Iterator[tuple[str, int]]:
        folders = {"instance": self._folder, "temporary": Path(tempfile.gettempdir())}
        if db.is_in_process:
            folders["database"] = Path(db.database).parent
        for name, folder in folders.items():
            if (free := room.free_bytes(folder)) is not None:
                yield name, free


def _of_database(stored: _Stored) -> Iterator[Metric]:
    about = "The last arrival from each of the 20 connections that are silent for longest."
    arrivals = {str(each.connection_id): to_moment(each.at).timestamp() for each in stored.arrivals}
    yield _gauge("pdpp_connection_last_arrival_timestamp_seconds", about, "connection", arrivals)
    about = "Connections whose source has stayed away for longer than usual."
    yield GaugeMetricFamily("pdpp_silent_connections", about, value=stored.silent)
    about = "The database, with its write-ahead log on SQLite."
    yield GaugeMetricFamily("pdpp_database_bytes", about, value=stored.size_bytes)
    if stored.lag_seconds is not None:
        about = "How old the replica's data is; absent on a primary."
        yield GaugeMetricFamily("pdpp_replica_lag_seconds", about, value=stored.lag_seconds)
    if stored.rebuilt is not None:
        about = "How much of a rebuild is done, from 0 to 1; absent if none is running."
        yield GaugeMetricFamily("pdpp_rebuild_progress_ratio", about, value=stored.rebuilt)


def _gauge(name: str, about: str, label: str, values: Mapping[str, float]) -> Metric:
    metric = GaugeMetricFamily(name, about, labels=[label])
    for of, value in values.items():
        metric.add_metric([of], value)
    return metric
