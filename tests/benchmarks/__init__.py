"""Programs that measure.  `python -m tests.benchmarks` runs all figures; see `docs/performance.md`.

- `figures.py` defines what a figure is; `imports.py`, `projection.py`, `removals.py`, `reading.py` declare them,
  one function each, and `http_load.py` loads servers with wrk.
- `places.py` makes databases, `corpus.py` records, `servers.py` servers.
- `report.py` prints and stores results, `charts.py` draws them, `fit.py` finds exponents.
"""
