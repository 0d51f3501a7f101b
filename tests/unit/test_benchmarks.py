"""The benchmarks' own arithmetic and drawing.  What they measure is timed by people, not by tests."""

import itertools
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.benchmarks import bare, charts, http_load, publish, report, results
from tests.benchmarks.corpus import layout, write_file, write_interleaved
from tests.benchmarks.figures import Figure, Goal, Times
from tests.benchmarks.fit import exponent
from tests.benchmarks.results import Load, Memory, Results, Row, Spread, growth_of
from tests.benchmarks.servers import BARE_NAMES

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)


def row(records: int, ours: float, other: float = 1.0, name: str = "import") -> Row:
    figure = Figure(name, "what", "than what", Goal(ratio=2), lambda _: Times([], []))
    return Row.of(figure, "sqlite", records, Times([ours], [other], amount=records))


def load(
    path: str = http_load.SUMMARY,
    connections: int = 4,
    rate: float = 100,
    state: str = http_load.IDLE,
    server: str = http_load.OURS,
) -> Load:
    if path == http_load.BARE:
        server = BARE_NAMES["granian"]
    return Load("sqlite", server, path, state, connections, Spread(rate, rate, rate), 1.0, 2.0, 0)


class TestExponent:
    @pytest.mark.parametrize("expected", [0.0, 0.5, 1.0, 2.0])
    def test_is_that_of_the_power_law(self, expected: float) -> None:
        assert exponent({size: 3e-6 * size**expected for size in SIZES}) == pytest.approx(expected)

    def test_is_fitted_to_all_points(self) -> None:
        # A step of ten at one end of four points: the least squares have 0.3 of it for each decade.
        assert exponent({10: 1.0, 100: 1.0, 1_000: 1.0, 10_000: 10.0}) == pytest.approx(0.3)

    def test_needs_two_sizes(self) -> None:
        assert exponent({10: 1.0}) is None

    def test_of_each_figure_measured_at_two_sizes(self) -> None:
        rows = [row(10, 1), row(1_000, 100, 10), row(10, 1, name="rebuild")]
        assert [(each.name, each.ours, each.other) for each in growth_of(rows)] == [
            ("import", pytest.approx(1.0), pytest.approx(0.5))
        ]


class TestGoal:
    TIMES = Times([0.1, 0.2, 9.0], [0.1], amount=1_000)

    @pytest.mark.parametrize("goal", [Goal(), Goal(ratio=2), Goal(seconds=0.2), Goal(rate=5_000)])
    def test_is_met_by_the_median(self, goal: Goal) -> None:
        assert goal.is_met(self.TIMES)

    @pytest.mark.parametrize("goal", [Goal(ratio=1.9), Goal(seconds=0.19), Goal(rate=5_001)])
    def test_is_not_met(self, goal: Goal) -> None:
        assert not goal.is_met(self.TIMES)


def test_half_of_the_values_are_within_the_spread() -> None:
    assert Spread.of([5, 1, 2, 3, 4]) == Spread(3, 2, 4)
    assert Spread.of([7]) == Spread(7, 7, 7)


def test_results_are_read_as_they_were_stored(tmp_path: Path) -> None:
    stored = Results("command", "machine", [row(10, 1)], growth_of([row(10, 1), row(20, 2)]), [load()])
    stored.memory.append(Memory("sqlite", "pdpp-ref", 80.5))
    results.store(tmp_path / "results.json", stored)
    assert results.load(tmp_path / "results.json") == stored


def test_without_wrk_the_load_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="apt-get install wrk"):
        http_load.check_installed()


def test_what_wrk_reports_is_understood() -> None:
    line = {"requests": 3_000, "microseconds": 1_500_000, "p50": 900, "p99": 12_000, "failed": 2}
    printed = f"Running 1s test @ http://127.0.0.1\nRequests/sec: 1\n{json.dumps(line)}\n"
    assert http_load.parsed(printed) == http_load.Answered(2_000, 0.9, 12.0, 2)


def test_the_goals_of_the_load_are_relative_to_the_other_servers() -> None:
    loads = [
        load(path, connections, 100 if path == http_load.BARE else 130, state)
        for path in (http_load.SUMMARY, http_load.HERO, http_load.HEALTH, http_load.BARE)
        for state in (http_load.IDLE, http_load.IMPORTING)
        for connections in http_load.CONNECTIONS
    ]
    loads.append(load(rate=65, server="http://other"))
    used = Memory("sqlite", http_load.OURS, 150)
    assert [what for is_met, what in http_load.goals(loads, [used]) if not is_met] == [
        "summary, 64 connections: 1.5 of bare granian: 1.30",
        "summary, 4 connections: 3 times http://other: 2.00",
        "memory while serving under 120 MB: 150 MB",
    ]


@pytest.mark.parametrize("size", [30, 63, 64, 753, 10_000])
def test_the_bare_route_is_as_long_as_ours(size: int) -> None:
    assert len(json.dumps(bare.filled(size), separators=(",", ":"))) == size


@pytest.mark.parametrize("records", [1_000, 10_000, 10_001])
def test_a_corpus_has_as_many_records_as_asked_for(records: int, tmp_path: Path) -> None:
    assert sum(size for _, _, size in layout(records)) == records
    for write in (write_file, write_interleaved):
        write(tmp_path / "lines", 1_001)
        assert (tmp_path / "lines").read_bytes().count(b"\n") == 1_001


def test_durations_are_in_units_that_a_reader_can_picture() -> None:
    *_, line = report.durations([row(1_000, 0.1)])
    assert line == "| import | sqlite | 10,000/s | 3 hours | 12 days |"


class TestChart:
    SERIES = {f"<line {number}>": {10.0: 1.0, 1_000.0: 10.0 ** (number % 2)} for number in range(9)}

    def drawn(self) -> ElementTree.Element:
        return ElementTree.fromstring(charts.lines("title", "x", "y", self.SERIES))

    def texts(self) -> dict[str, ElementTree.Element]:
        return {each.text or "": each for each in self.drawn().iter() if each.tag.endswith("text")}

    def test_has_a_line_and_a_label_for_each_series(self) -> None:
        lines = [each for each in self.drawn().iter() if each.get("class") == "line"]
        assert len(lines) == len(self.SERIES)
        assert self.texts().keys() >= {"title", "x", "y", "10", "1 k", *self.SERIES}

    def test_labels_do_not_cover_each_other(self) -> None:
        texts = self.texts()
        heights = sorted(float(texts[name].get("y", 0)) for name in self.SERIES)
        assert min(b - a for a, b in itertools.pairwise(heights)) >= charts.LABEL_HEIGHT - 0.2
        assert max(heights) < charts.HEIGHT

    def test_a_larger_value_is_higher(self) -> None:
        (line, *_) = [each for each in self.drawn().iter() if each.get("class") == "line"][1:]
        points = [tuple(map(float, each.split(","))) for each in line.get("points", "").split()]
        assert points[0][0] < points[1][0]
        assert points[0][1] > points[1][1]

    def test_is_drawn_for_light_and_dark_pages(self) -> None:
        assert "prefers-color-scheme: dark" in charts.lines("title", "x", "y", self.SERIES)


class TestPublish:
    def test_only_what_is_between_the_marks_is_replaced(self) -> None:
        text = "before\n<!-- load -->\nold\n<!-- end of load -->\nafter\n"
        replaced = publish.replaced(text, "load", iter(["new"]))
        assert replaced == "before\n<!-- load -->\n\nnew\n\n<!-- end of load -->\nafter\n"

    def test_a_server_that_answered_nothing_is_left_out_of_the_chart(self) -> None:
        loads = [load(connections=1), load(connections=4), load(connections=256, rate=0)]
        found = re.search('points="([^"]+)"', publish.load_chart(loads))
        assert found
        assert len(found[1].split()) == 2

    def test_the_document_has_the_marks(self) -> None:
        text = (publish.DOCS / "performance.md").read_text()
        for name in ("figures", "durations", "load"):
            assert text.index(f"<!-- {name} -->") < text.index(f"<!-- end of {name} -->")
