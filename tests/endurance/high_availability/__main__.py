"""A primary that dies, freezes, is cut off or is replaced, again and again: `make trial-ha`.

Three PostgreSQL hosts that patroni looks after, in synchronous mode.  For each way to connect two servers,
three importers and a reader use a database of their own.  Everything that was acknowledged must be stored,
nothing wrong is called fresh, no answer is another error than 503, and none of our processes restarts.
"""

import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import click
import psycopg

from tests.endurance.high_availability import programs
from tests.endurance.high_availability.clients import Way
from tests.endurance.high_availability.cluster import Cluster, Host, await_

WAYS = ("direct", "haproxy", "session", "transaction")
FAULTS = ("kill", "freeze", "cut", "switchover")
CALM_SECONDS = 3.0
OUTAGE_SECONDS = 120.0
COUNTS = """
    SELECT c.connector_instance_id, COUNT(*), MAX(r.key::bigint) + 1
    FROM connections c
    JOIN streams s ON s.connection_id = c.id
    JOIN records r ON r.stream_id = s.id
    GROUP BY 1
    """


class Recovered(NamedTuple):
    """Seconds from a fault until patroni named another leader, and until a way could write and read."""

    leader: float
    written: dict[str, float]
    read: dict[str, float]


def inject(fault: str, cluster: Cluster, leader: Host) -> Callable[[], None]:
    """Make the leader fail.  Returns what ends that."""
    if fault == "kill":
        leader.signal(signal.SIGKILL)
        return leader.start
    if fault == "freeze":
        leader.signal(signal.SIGSTOP)
        return lambda: leader.signal(signal.SIGCONT)
    if fault == "cut":
        leader.cut_off()
        return leader.reconnect
    cluster.switch_over()
    return lambda: None


def one_round(fault: str, cluster: Cluster, ways: Sequence[Way]) -> Recovered:
    leader = cluster.leader()
    began = time.monotonic()
    end = inject(fault, cluster, leader)
    try:
        await_(lambda: cluster.find_leader(but=leader), OUTAGE_SECONDS, "new leader")
        named = time.monotonic()
        await_(lambda: all(has_recovered(way, named) for way in ways), OUTAGE_SECONDS, "recovery of all")
    finally:
        end()
    cluster.await_health()
    time.sleep(CALM_SECONDS)
    return Recovered(
        named - began,
        {way.name: longest_gap([when for _, when in way.seen.written], began) for way in ways},
        {way.name: longest_gap(way.seen.read, began) for way in ways},
    )


def has_recovered(way: Way, since: float) -> bool:
    """Whether each importer has had something acknowledged since then, and a read was fresh."""
    importers = {connection for connection, when in list(way.seen.written) if when > since}
    return len(importers) == len(way.seen.sent) and way.seen.read[-1] > since


def longest_gap(moments: Sequence[float], since: float) -> float:
    """The longest time without such a moment since then."""
    later = [since, *(when for when in list(moments) if when > since)]
    return max((after - before for before, after in pairwise(later)), default=0.0)


def check_stored(cluster: Cluster, way: Way, *, at_end: bool) -> None:
    """All that was acknowledged is stored, without gaps, and nothing that was not sent."""
    acknowledged = dict(way.seen.acknowledged)
    with psycopg.connect(cluster.primary_url(way.name)) as connection:
        found = {name: (count, following) for name, count, following in connection.execute(COUNTS)}
        (versions,) = connection.execute("SELECT COUNT(*) FROM record_changes").fetchone() or (0,)
    for name, least in acknowledged.items():
        count, following = found.get(name, (0, 0))
        if not least <= count <= way.seen.sent[name] or count != following:
            way.seen.wrong.append(f"{name}: {count} records stored, {least} acknowledged")
        if at_end and not least == count == way.seen.sent[name]:
            way.seen.wrong.append(f"{name}: {count} stored, {least} acknowledged at the end")
    if at_end and versions != sum(count for count, _ in found.values()):
        way.seen.wrong.append(f"{versions} versions of {found}")


def verify(way: Way) -> None:
    try:
        way.servers[0].run("verify")
    except (AssertionError, subprocess.TimeoutExpired) as failed:
        way.seen.wrong.append(f"verify: {str(failed)[:500]}")


def report(ways: Sequence[Way], rounds: dict[str, list[Recovered]]) -> int:
    click.echo("seconds from the fault, median and most:")
    for fault, found in rounds.items():
        leaders = [each.leader for each in found]
        click.echo(f"{fault}, {len(found)} times: new leader {_shown(leaders)}")
        for way in ways:
            written = [each.written[way.name] for each in found]
            read = [each.read[way.name] for each in found]
            click.echo(f"    {way.name:12} no write {_shown(written)}, no fresh read {_shown(read)}")
    for way in ways:
        seen = way.seen
        statuses = ", ".join(f"{count:,} x {status}" for status, count in sorted(seen.statuses.items()))
        click.echo(
            f"{way.name}: {seen.acknowledged.total():,} records acknowledged, {len(seen.read):,} fresh reads; "
            f"{statuses}; slowest answer {seen.slowest:.1f} s; wrong: {len(seen.wrong)}"
        )
        for line in seen.wrong[:20]:
            click.echo(f"    {line}")
    return int(any(way.seen.wrong for way in ways))


def _shown(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.1f} / {max(seconds):.1f}"


def show_round(name: str, last: Recovered, cluster: Cluster, ways: Sequence[Way]) -> None:
    """Check what is stored, and print one line."""
    for way in ways:
        check_stored(cluster, way, at_end=False)
    wrong = sum(len(way.seen.wrong) for way in ways)
    click.echo(
        f"{name}: new leader after {last.leader:.1f} s, writes after {max(last.written.values()):.1f} s, "
        f"wrong: {wrong}",
        err=True,
    )


def run_trial(times: int, minutes: float, ways: Sequence[str], faults: Sequence[str], folder: Path) -> int:
    cluster = Cluster(folder)
    clients: list[Way] = []
    rounds: dict[str, list[Recovered]] = defaultdict(list)
    try:
        cluster.start()
        with psycopg.connect(cluster.primary_url("postgres"), autocommit=True) as admin:
            for name in ways:
                admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")  # type: ignore[call-overload]
        for name in ways:
            clients.append(Way(name, cluster.url(name), folder))
            clients[-1].start()
        time.sleep(CALM_SECONDS)
        until = time.monotonic() + minutes * 60
        try:
            for number in range(times):
                for fault in faults if time.monotonic() < until else ():
                    rounds[fault].append(one_round(fault, cluster, clients))
                    show_round(f"{number + 1}/{times} {fault}", rounds[fault][-1], cluster, clients)
        except TimeoutError as late:
            clients[0].seen.wrong.append(str(late))
        for way in clients:
            way.stop()
            check_stored(cluster, way, at_end=True)
            verify(way)
        return report(clients, rounds)
    finally:
        for way in clients:
            way.remove()
        cluster.remove()


@click.command()
@click.option(
    "--times", default=20, show_default=True, type=click.IntRange(1), help="How often each fault."
)
@click.option("--minutes", default=240.0, show_default=True, help="Begin no further round after that.")
@click.option("--ways", default=",".join(WAYS), show_default=True, help="Ways to connect.")
@click.option("--faults", default=",".join(FAULTS), show_default=True)
@click.option("--keep", is_flag=True, help="Keep the folder with all logs.")
def main(times: int, minutes: float, ways: str, faults: str, keep: bool) -> None:
    """Let the primary fail, and check that nothing is lost or wrong."""
    programs.install()
    folder = Path(tempfile.mkdtemp(prefix="pdpp-ha-", dir="/tmp"))
    folder.chmod(0o755)  # PostgreSQL's user has to enter it
    click.echo(f"logs are in {folder}", err=True)
    try:
        sys.exit(run_trial(times, minutes, ways.split(","), faults.split(","), folder))
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
