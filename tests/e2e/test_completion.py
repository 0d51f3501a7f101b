"""Shell completion, as README sets it up, in a real bash; and what else helps somebody who types."""

import os
import re
import subprocess
from pathlib import Path

import click
import pytest

from pdpp_ref.cli.main import COMMANDS, main
from pdpp_ref.config import declarations
from tests.conftest import COMMAND

ROOT = Path(__file__).parents[2]
SETTINGS = {each.variable: each for each in declarations()}


def completed(typed: str, folder: Path) -> list[str]:
    """What bash offers for the last word after the line of README was run."""
    (line,) = re.findall(r"^\$ (eval .*_COMPLETE=bash_source .*)$", (ROOT / "README.md").read_text(), re.M)
    *words, last = typed.split(" ")
    script = f"""
        {line}
        complete -p pdpp-ref >&2 || exit 1
        COMP_WORDS=({" ".join(words)} '{last}') COMP_CWORD={len(words)}
        _pdpp_ref_completion pdpp-ref
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    environment = {"PATH": f"{Path(COMMAND).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc", "--noprofile", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("pdpp-ref pru", ["prune-history"]),
        ("pdpp-ref token r", ["revoke", "rotate"]),
        ("pdpp-ref export --format p", ["parquet"]),
        ("pdpp-ref import --re", ["--rejects"]),
    ],
)
def test_bash_completes_commands_options_and_choices(
    tmp_path: Path, typed: str, offered: list[str]
) -> None:
    assert completed(typed, tmp_path) == offered
    assert not list(tmp_path.iterdir()), "completing opens no database"


def help_of(*names: str) -> str:
    """Without running anything: a command changes what its process does with signals."""
    command: click.Command = main
    context = click.Context(main)
    for name in names:
        assert isinstance(command, click.Group)
        found = command.get_command(context, name)
        assert found
        command, context = found, click.Context(found, context, name)
    return command.get_help(context)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_names_the_settings_that_it_obeys(name: str) -> None:
    shown = help_of(name)
    named = set(re.findall(r"^  (PDPP_\w+)", shown, re.M))
    assert named == {variable for variable, each in SETTINGS.items() if each.is_of(name)}
    assert "PDPP_INSTANCE_PATH" in named


def test_subcommands_have_the_settings_of_their_group() -> None:
    shown = help_of("token", "rotate")
    assert "PDPP_OPERATOR_TOKEN" in shown
    assert "PDPP_COPY_TO" not in shown


@pytest.mark.parametrize(
    ("name", "commands"),
    [
        ("PDPP_COPY_TO", {"copy"}),
        ("PDPP_WORKERS", {"serve", "demo"}),
        ("PDPP_RECONCILE_MAX_ROWS", {"serve", "demo", "summary"}),
        ("PDPP_DATABASE_URL", set(COMMANDS) - {"demo", "password"}),
    ],
)
def test_a_setting_is_of_the_commands_that_read_it(name: str, commands: set[str]) -> None:
    assert {command for command in COMMANDS if SETTINGS[name].is_of(command)} == commands


def test_commands_that_settings_name_exist() -> None:
    named = {name for each in SETTINGS.values() for name in (*each.commands, *each.but_not)}
    assert named <= set(COMMANDS)
    assert isinstance(main, click.Group)
