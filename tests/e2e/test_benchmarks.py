"""The benchmarks run, at a size that takes seconds, and each figure is measured.  No time is judged."""

import os
import subprocess
import sys
from pathlib import Path

from tests.benchmarks import results
from tests.benchmarks.__main__ import FIGURES

ROOT = Path(__file__).parents[2]
LONG = os.environ.get("PDPP_TEST_LONG") == "1"
# Those that start the most programs, which takes seconds of processor time.
SLOW = {"import, 500 streams in turn", "export with history"}


def test_every_figure_is_measured(tmp_path: Path) -> None:
    names = sorted(FIGURES if LONG else FIGURES.keys() - SLOW)
    stored = tmp_path / "results.json"
    amount = ["--sizes", "1000", "--repeat", "1", "--no-load"]
    command = [sys.executable, "-m", "tests.benchmarks", *amount, "--json", str(stored), "--only", *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = results.load(stored).rows
    assert sorted(row.name for row in rows) == names
    assert all(row.ours.median > 0 and row.other.median > 0 for row in rows)
