"""Memory does not grow with the number of lines, whatever is wrong with them."""

import json
import os
import subprocess
import sys
from pathlib import Path

LONG = os.environ.get("PDPP_TEST_LONG") == "1"
LINES = ("12000", "1000000" if LONG else "60000")  # more than one batch
# So many that all caches are full; it takes minutes to write them.
RECORDS = ("100000", "500000") if LONG else ()
# What is read and decoded at a time differs a little; a hundred bytes for each line would be more.
MOST_KIB = 3_000


def test_memory_is_the_same_for_many_times_as_many_lines(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.peak_memory", str(tmp_path), *LINES, *RECORDS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    growth = json.loads(done.stdout)
    print(growth)
    assert len(growth) == 3 + LONG
    assert {kind: kib for kind, kib in growth.items() if kib > MOST_KIB} == {}
