"""Rules of the layout that a reader relies on."""

import ast
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pdpp_ref"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Which packages, and modules of the top level, each may import: those listed above it and no other.
MAY_IMPORT: dict[str, set[str]] = {
    "timestamps": set(),
    "private_files": set(),
    "signals": set(),
    "descriptors": set(),
    "notices": set(),
    "config": {"notices"},
    "shared_memory": {"config"},
    "lane_use": {"shared_memory"},
    "backup_time": {"private_files"},
    "access_log": {"timestamps"},
    "access": {"access_log", "shared_memory"},
    "sign_in_attempts": {"shared_memory"},
    "database": {"private_files"},
    "parsing": {"descriptors", "timestamps"},
    "models": {"database"},
    "migrations": {"database", "models", "timestamps"},
    "projection": {"database", "models", "timestamps"},
    "canonical": {
        "database",
        "models",
        "parsing",
        "private_files",
        "projection",
        "signals",
        "timestamps",
    },
    "services": {"database", "models", "projection", "shared_memory", "timestamps"},
    "queries": {"database", "models", "projection", "timestamps"},
    "operations": {
        "canonical",
        "database",
        "migrations",
        "models",
        "parsing",
        "projection",
        "queries",
        "services",
        "timestamps",
    },
    "instance_folder": {"config", "notices", "private_files"},
    "startup": {
        "canonical",
        "config",
        "database",
        "instance_folder",
        "migrations",
        "notices",
    },
    "parts": {"canonical", "config", "services"},
    "credentials": {"private_files"},
    "tokens": {"credentials", "database", "timestamps"},
    "authentication": {"credentials", "tokens"},
    "schemas": {"models", "projection", "queries", "services"},
    "blueprints": {
        "access",
        "authentication",
        "backup_time",
        "canonical",
        "credentials",
        "database",
        "lane_use",
        "models",
        "operations",
        "parsing",
        "projection",
        "queries",
        "schemas",
        "services",
        "sign_in_attempts",
        "timestamps",
        "tokens",
    },
    "application": {
        "authentication",
        "blueprints",
        "config",
        "credentials",
        "instance_folder",
        "notices",
        "parts",
        "services",
        "sign_in_attempts",
        "startup",
    },
    "__init__": {"application"},
    "server": {
        "access",
        "authentication",
        "blueprints",
        "credentials",
        "database",
        "lane_use",
        "schemas",
        "services",
        "shared_memory",
        "timestamps",
    },
    "cli": {
        "__init__",
        "access_log",
        "application",
        "backup_time",
        "canonical",
        "config",
        "credentials",
        "database",
        "descriptors",
        "instance_folder",
        "models",
        "operations",
        "parsing",
        "parts",
        "private_files",
        "projection",
        "queries",
        "schemas",
        "server",
        "services",
        "signals",
        "startup",
        "timestamps",
        "tokens",
    },
    "__main__": {"cli"},
}
HTTP = {
    "authentication",
    "credentials",
    "schemas",
    "tokens",
    "blueprints",
    "application",
    "__init__",
    "server",
    "cli",
    "__main__",
}


def package_of(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def modules_of(packages: set[str]) -> list[Path]:
    return [module for module in MODULES if package_of(module) in packages]


def imported(module: Path) -> Iterator[Path]:
    """The package's own modules that a module imports."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = module.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            names = [base / name.name for name in node.names] if base.is_dir() else [base]
            yield from (found for name in names if (found := _file_of(name)))
            if base.is_dir():
                yield base / "__init__.py"


def _file_of(module: Path) -> Path | None:
    places = (module.with_suffix(".py"), module / "__init__.py")
    return next((place for place in places if place.exists()), None)


def others_imported(module: Path) -> set[str]:
    """The names of the modules of others that a module imports, with those of `msgspec`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names |= {f"msgspec.{node.attr}"} if node.value.id == "msgspec" else set()
    return names


def test_every_import_between_packages_is_allowed_and_every_allowed_one_is_needed() -> None:
    found: dict[str, set[str]] = {name: set() for name in MAY_IMPORT}
    for module in MODULES:
        found[package_of(module)] |= {package_of(other) for other in imported(module)}
    for package, others in found.items():
        # A package's own modules; and the root's `__init__` names the packages, which `from .. import` reads.
        needed = others - {package} - ({"__init__"} - MAY_IMPORT[package])
        assert needed == MAY_IMPORT[package], package


def test_imports_run_one_way() -> None:
    above: set[str] = set()
    for package, others in MAY_IMPORT.items():
        assert others <= above, package
        above.add(package)


def test_json_pages_and_connectors_do_not_know_each_other() -> None:
    blueprints = PACKAGE / "blueprints"
    apart = {
        blueprints / f"{name}.py" for name in ("dashboard", "operator_api", "connector_api", "data_api")
    }
    for module in apart:
        assert not set(imported(module)) & (apart - {module}), module.name


@pytest.mark.parametrize("module", modules_of(MAY_IMPORT.keys() - HTTP), ids=lambda path: path.stem)
def test_below_http_nothing_knows_http(module: Path) -> None:
    assert not [name for name in others_imported(module) if name.startswith(("flask", "werkzeug"))]


# Others read JSON that was sent, or write texts of their own.
@pytest.mark.parametrize(
    "module", modules_of({"models", "projection", "services", "queries"}), ids=lambda path: path.stem
)
def test_bodies_are_written_by_schemas_alone(module: Path) -> None:
    assert not [name for name in others_imported(module) if re.match(r"(msgspec\.)?json\b", name)]


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
    assert names <= {"measures.py", "deltas.py", "verify.py"}


# ---- the tests -----------------------------------------------------------------------------------

TESTS = ROOT / "tests"
# What makes a test one of another layer: a database, an application over it, the command, a browser.
FIXTURES = {
    "app",
    "backend",
    "client",
    "make_app",
    "owner",
    "page",
    "probe",
    "reused",
    "run",
    "server",
    "summary",
}
PROCESSES = {"playwright", "subprocess", "tests.support.command", "tests.support.server_process"}


@pytest.mark.parametrize("module", sorted((TESTS / "unit").glob("test_*.py")), ids=lambda path: path.name)
def test_a_unit_test_needs_no_database_and_no_process(module: Path) -> None:
    nodes = list(ast.walk(ast.parse(module.read_text())))
    fixtures = {
        argument.arg
        for node in nodes
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        for argument in node.args.args
    }
    modules = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    modules |= {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    assert not fixtures & FIXTURES
    assert not modules & PROCESSES


def test_every_test_is_in_a_layer() -> None:
    layers = {
        module.parent.name for module in TESTS.rglob("test_*.py") if "node_modules" not in module.parts
    }
    assert layers == {"unit", "integration", "e2e", "endurance"}
