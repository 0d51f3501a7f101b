"""Rules of the layout that a reader relies on."""

import ast
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "pdpp_ref"
MODULES = sorted(PACKAGE.rglob("*.py"))

# A module may import from its own layer and those below it, never from above.
LAYERS = (
    ("timestamps", "private_files", "signals", "notices"),
    ("database", "parsing"),
    ("models",),
    ("migrations", "projection"),
    ("canonical", "services", "queries"),
    ("operations",),
    ("config", "credentials", "schemas"),
    ("instance_folder",),
    ("startup",),
    ("blueprints",),
    ("__init__", "application", "server"),
    ("cli", "__main__"),
)
# Packages of one layer that do not know each other.
APART = (
    ("database", "parsing"),
    ("migrations", "projection"),
    ("canonical", "services"),
    ("canonical", "queries"),
    ("services", "queries"),
)


def layer(module: Path) -> int:
    top = module.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return next(number for number, names in enumerate(LAYERS) if top in names)


def imported(module: Path) -> Iterator[Path]:
    """The package's own modules that a module imports."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = module.parents[node.level - 1]
            for part in (node.module or "").split("."):
                base = base / part if part else base
            if base.is_dir():
                for name in node.names:
                    places = (base / f"{name.name}.py", base / name.name / "__init__.py")
                    yield next((place for place in places if place.exists()), base / "__init__.py")
            else:
                yield base.with_suffix(".py")


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(module: Path) -> None:
    for other in imported(module):
        if module.parent.name == "blueprints" and other == PACKAGE / "__init__.py":
            pytest.fail("a blueprint imports the application")
        assert layer(other) <= layer(module), f"{module.name} imports {other.name}"


def test_the_json_and_html_blueprints_do_not_know_each_other() -> None:
    blueprints = PACKAGE / "blueprints"
    assert blueprints / "dashboard.py" not in imported(blueprints / "reference.py")
    assert blueprints / "reference.py" not in imported(blueprints / "dashboard.py")


@pytest.mark.parametrize("module", sorted((PACKAGE / "services").glob("*.py")), ids=lambda path: path.stem)
def test_services_know_no_http(module: Path) -> None:
    for node in ast.walk(ast.parse(module.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        assert not [name for name in names if name.startswith("flask")]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_is_longer_than_a_reader_can_hold(module: Path) -> None:
    assert len(module.read_text().splitlines()) < 400


def test_every_module_says_what_it_is_for() -> None:
    for module in MODULES:
        assert ast.get_docstring(ast.parse(module.read_text())), module.name


def test_htmx_is_vendored_unmodified() -> None:
    folder = ROOT / "static/vendor/htmx"
    digest = hashlib.sha256((folder / "htmx-2.0.11.min.js").read_bytes()).hexdigest()
    assert digest == "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"
    assert digest in (folder / "README.md").read_text()
    assert "Zero-Clause BSD" in (folder / "LICENSE").read_text()


def test_only_one_package_speaks_to_a_driver() -> None:
    for module in MODULES:
        if module.parent.name != "database":
            assert not re.search(r"^\s*(import|from) (apsw|sqlite3|psycopg)", module.read_text(), re.M), (
                module.name
            )


def test_a_measure_is_listed_in_one_place() -> None:
    listing = [module for module in MODULES if module.read_text().count('"record_history_json_bytes"') > 0]
    names = {module.name for module in listing}
    assert names <= {"measures.py", "retained_size.py", "summary.py", "verify.py"}
