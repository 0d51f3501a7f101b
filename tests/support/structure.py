"""Measure the package: modules, imports between packages, floors and sizes of functions.

    python -m tests.support.structure [--at REVISION]

`--at` measures another revision of the repository, so that two layouts can be compared.
"""

import argparse
import ast
import io
import subprocess
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).resolve().parents[2]


def modules(package: Path) -> list[Path]:
    return sorted(package.rglob("*.py"))


def imported(module: Path) -> Iterator[Path]:
    """The package's own modules that a module imports."""
    for node in ast.walk(ast.parse(module.read_text())):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = module.parents[node.level - 1].joinpath(*(node.module or "").split("."))
        if not base.is_dir():
            yield base.with_suffix(".py")
            continue
        for name in node.names:
            candidates = (base / f"{name.name}.py", base / name.name / "__init__.py")
            yield next((path for path in candidates if path.exists()), base / "__init__.py")


def room(module: Path, package: Path) -> str:
    """The package or top-level module that a module belongs to; `create_app` is in `app`."""
    parts = module.relative_to(package).parts
    return "app" if parts == ("__init__.py",) else parts[0].removesuffix(".py")


def arrows(package: Path) -> dict[tuple[str, str], int]:
    """How many modules of one room import modules of another one."""
    found: dict[tuple[str, str], set[tuple[Path, Path]]] = defaultdict(set)
    for module in modules(package):
        for other in imported(module):
            pair = room(module, package), room(other, package)
            if pair[0] != pair[1]:
                found[pair].add((module, other))
    return {pair: len(imports) for pair, imports in found.items()}


def floors(package: Path) -> int:
    """The length of the longest chain of imports."""
    graph = {module: set(imported(module)) - {module} for module in modules(package)}
    under: set[Path] = set()

    @cache
    def height(module: Path) -> int:
        if module in under:  # a package's own `__init__`, which its modules import
            return 0
        under.add(module)
        below = [height(other) for other in graph.get(module, ())]
        under.discard(module)
        return 1 + max(below, default=0)

    return max(map(height, graph))


def function_lines(package: Path) -> list[int]:
    return [
        (node.end_lineno or node.lineno) - node.lineno + 1
        for module in modules(package)
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def report(package: Path) -> Iterator[str]:
    rooms: dict[str, list[int]] = defaultdict(list)
    for module in modules(package):
        rooms[room(module, package)].append(len(module.read_text().splitlines()))
    for name, lines in sorted(rooms.items()):
        yield f"{name:<14}{len(lines):>3} modules {sum(lines):>6,} lines, longest {max(lines)}"
    between = arrows(package)
    sizes = function_lines(package)
    yield f"imports between rooms: {sum(between.values())}, along {len(between)} arrows"
    yield f"longest chain of imports: {floors(package)} modules"
    p90 = quantiles(sizes, n=10)[-1]
    yield f"functions: {len(sizes):,}; lines: median {median(sizes):g}, p90 {p90:g}, max {max(sizes)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--at", metavar="REVISION")
    revision = parser.parse_args().at
    if revision is None:
        print(*report(ROOT / "pdpp_ref"), sep="\n")
        return
    packed = subprocess.run(
        ["git", "archive", revision, "pdpp_ref"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(folder, filter="data")
        print(*report(Path(folder) / "pdpp_ref"), sep="\n")


if __name__ == "__main__":
    main()
