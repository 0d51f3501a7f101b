"""Wording: one term per concept in code and documents, and help for every command and option."""

import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pdpp_ref.cli.main import main

ROOT = Path(__file__).parents[2]

# Words that the glossary has replaced (repair and recount are "reconcile"), and others that read oddly.
RETIRED = re.compile(
    r"""
    \b(
        anew | bears? | beside | kept | mend(s|ed|ing)? | tells? | telling | told
        | heal(s|ed|ing)? | repair(s|ed|ing)? | recount(s|ed|ing)?
        | as\ of\ when | cut\ short | go(es)?\ on | made\ up | taken\ away | taken\ up
        | look(s|ed|ing)?\ (at|through|away)
    )\b
    """,
    re.IGNORECASE | re.VERBOSE,
)

# Fixed names: of a file's method, of a column, of a state of the page with its screenshots, and of a picture's format.
ALLOWED = {
    "pdpp_ref/operations/parquet.py": ("def tell(",),
    "pdpp_ref/schemas/downloads.py": ('tag_field="kept"',),
    "pdpp_ref/services/freshness.py": ('"recounting"',),
    "templates/_hero.html": ('"recounting"',),
    "templates/_words.html": ('"recounting"',),
    "docs/api.md": ('"kept":',),
    "docs/decisions.md": ("`kept`",),
    "README.md": ("screenshots/recounting-wide-dark.png",),
}
# Names in tests: of a state of the page, of a method of a file, of a constant, and of a scenario of the seeds.
ALLOWED_NAMES = {
    "recounting",
    "tell",
    "LOOK_AT_LINES",
    "test_scenario_stale_retained_size_projection_is_repaired_on_read",
}
SEEDS = "openspec/specs/reference-implementation-architecture/spec.md"
TEST_FOLDERS = ("unit", "integration", "e2e", "endurance", "support", "benchmarks")
TEXTS = {".py", ".html", ".md", ".yaml", ".sql", ".service", ".conf", ""}


def _files() -> Iterator[Path]:
    yield from (ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Makefile", "app.py"))
    for folder in ("pdpp_ref", "templates", "docs", "openspec/specs"):
        yield from (path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix in TEXTS)


FILES = {str(path.relative_to(ROOT)): path for path in sorted(_files())}


def _retired(text: str) -> list[str]:
    found = RETIRED.finditer(re.sub(r"\s+", " ", text))
    return [match.string[max(match.start() - 30, 0) : match.end() + 30] for match in found]


@pytest.mark.parametrize("name", [name for name in FILES if name != SEEDS])
def test_no_retired_word_is_used(name: str) -> None:
    text = FILES[name].read_text()
    for allowed in ALLOWED.get(name, ()):
        assert allowed in text, "an exception that is no longer needed"
        text = text.replace(allowed, "")
    assert _retired(text) == []


def _names(path: Path) -> set[str]:
    with tokenize.open(path) as file:
        tokens = tokenize.generate_tokens(file.readline)
        return {token.string for token in tokens if token.type == tokenize.NAME}


def _has_retired_word(name: str) -> bool:
    return bool(RETIRED.search(name.replace("_", " ")))


def test_no_name_in_a_test_has_a_retired_word() -> None:
    folders = [ROOT / "tests" / folder for folder in TEST_FOLDERS]
    files = [ROOT / "tests/conftest.py", *(path for folder in folders for path in folder.rglob("*.py"))]
    names = {name: path for path in files for name in _names(path)}
    retired = {name for name in names if _has_retired_word(name)}
    assert {name: names[name].name for name in retired - ALLOWED_NAMES} == {}
    assert retired >= ALLOWED_NAMES, "an exception that is no longer needed"


@pytest.mark.parametrize("name", ["test_it_goes_on", "told", "kept_in", "LOOK_AT_IT", "_anew"])
def test_a_name_with_a_retired_word_is_found(name: str) -> None:
    assert _has_retired_word(name)


@pytest.mark.parametrize("text", ["It was kept.", "Beside it", "a recount", "goes\n    on", "# looked at"])
def test_a_retired_word_is_found(text: str) -> None:
    assert _retired(text)


@pytest.mark.parametrize("text", ["retained_size_recounts", "RecountCheckpoint", "keep", "a look-up"])
def test_other_words_are_not_found(text: str) -> None:
    assert not _retired(text)


class TestHelp:
    CONTEXT = click.Context(main)

    def commands(self) -> dict[str, click.Command]:
        named = {name: main.get_command(self.CONTEXT, name) for name in main.list_commands(self.CONTEXT)}
        found = {name: command for name, command in named.items() if command is not None}
        groups = {name: group for name, group in found.items() if isinstance(group, click.Group)}
        return found | {
            f"{name} {each}": group.commands[each]
            for name, group in groups.items()
            for each in group.commands
        }

    def test_every_command_has_help(self) -> None:
        commands = self.commands()
        assert {"import", "token new"} <= commands.keys()
        assert [name for name, command in commands.items() if not command.help] == []

    def test_every_option_has_help(self) -> None:
        options = [
            (name, option)
            for name, command in self.commands().items()
            for option in command.params
            if isinstance(option, click.Option)
        ]
        assert "--rejects" in {spelling for _, option in options for spelling in option.opts}
        assert [(name, option.name) for name, option in options if not option.help] == []

    def test_no_help_has_a_retired_word(self) -> None:
        for name, command in self.commands().items():
            assert _retired(command.get_help(click.Context(command, info_name=name))) == []
