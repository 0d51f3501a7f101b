"""README's commands, as they are written, in an empty folder.  Those of the API are run by `api_docs.py`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PASSED_ON = ("git clone", "make ")  # what they install is here already
STATES = '{"type":"STATE","value":{"at":%d}}'
RECORD = '{"type":"RECORD","stream":"deals","record":{"id":%d}}'
SCHEMA = '{"type":"SCHEMA","stream":"deals","schema":{},"key_properties":["id"]}'


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def blocks(text: str, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", text, re.S)


def commands(block: str) -> list[tuple[str, str]]:
    """Each command of a block, with what it prints."""
    found = []
    for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
        command, _, printed = part.partition("\n")
        if "<< END" in command:
            given, _, printed = printed.partition("END\n")
            command += f"\n{given}END"
        found.append((command, printed))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder, but for the environment that `make` installs."""
    made = tmp_path / "pdpp-ref"
    made.mkdir()
    (made / ".venv").symlink_to(Path(sys.executable).parents[1])
    return made


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "PDPP_INSTANCE_PATH": str(folder / "instance")}
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )


def test_files_can_be_imported_and_exported_as_readme_says(folder: Path) -> None:
    typed = [each for block in blocks(section("Use it"), "console") for each in commands(block)]
    assert len(typed) >= 4
    for command, printed in typed:
        if command.startswith(PASSED_ON):
            continue
        if "any other server" in command:
            command = f"PDPP_INSTANCE_PATH={folder}/other {command}"
        done = run(command, folder)
        assert done.returncode == 0, (command, done.stderr)
        assert re.sub(r"[\d.]+ s", "0.0 s", done.stdout + done.stderr).startswith(printed), command
    assert (folder / "backup.jsonl").read_text().count('"type":"RECORD"') == 3, "and all its versions"


def test_the_tour_imports_a_line(folder: Path) -> None:
    (block,) = blocks((ROOT / "docs/first-three-minutes.md").read_text(), "console")
    for command in re.findall(r"^ *\$ (.*)$", block, re.M):
        done = run(command, folder)
        assert done.returncode == 0, (command, done.stderr)
    assert "1 accepted (1 new" in done.stderr


class TestSinger:
    """The script that runs a tap, with taps that fail."""

    @pytest.fixture
    def sync(self, folder: Path) -> Path:
        (script,) = blocks(section("Use it"), "sh")
        name = re.findall(r"^# (\S+\.sh):", script)[0]
        assert f"`bash {name}`" in README
        (folder / name).write_text(script)
        return folder / name

    @staticmethod
    def tap(folder: Path, *lines: str, code: int = 0) -> None:
        """It prints lines, and stores how it was called."""
        tap = folder / "tap-crm"
        printed = "\n".join(lines)
        tap.write_text(f"#!/bin/sh\necho \"$@\" > called\ncat << 'END'\n{printed}\nEND\nexit {code}\n")
        tap.chmod(0o755)

    @staticmethod
    def state(folder: Path) -> str:
        return (folder / "state.json").read_text()

    def test_the_next_run_begins_where_the_last_one_ended(self, folder: Path, sync: Path) -> None:
        self.tap(folder, SCHEMA, RECORD % 1, STATES % 1, RECORD % 2, STATES % 2)
        assert run(f"bash {sync.name}", folder).returncode == 0
        assert (folder / "called").read_text() == "--config tap.json\n"
        assert self.state(folder) == '{"at":2}\n'
        assert run(f"bash {sync.name}", folder).returncode == 0
        assert (folder / "called").read_text() == "--config tap.json --state state.json\n"

    def test_a_tap_that_fails_is_reported_and_no_state_is_lost(self, folder: Path, sync: Path) -> None:
        self.tap(folder, SCHEMA, RECORD % 1, STATES % 1, RECORD % 2, code=7)
        assert run(f"bash {sync.name}", folder).returncode == 7
        assert self.state(folder) == '{"at":1}\n', "what came before it is stored"
        self.tap(folder, code=1)
        assert run(f"bash {sync.name}", folder).returncode != 0
        assert self.state(folder) == '{"at":1}\n', "without a STATE the last one stays"

    def test_a_rejected_line_is_asked_for_again(self, folder: Path, sync: Path) -> None:
        self.tap(folder, SCHEMA, RECORD % 1, STATES % 1, "oops", STATES % 2)
        assert run(f"bash {sync.name}", folder).returncode == 1
        assert self.state(folder) == '{"at":1}\n'

    def test_an_import_that_fails_changes_no_state(self, folder: Path, sync: Path) -> None:
        (folder / "state.json").write_text('{"at":1}\n')
        (folder / "instance").write_text("not a folder")
        self.tap(folder, SCHEMA, STATES % 2)
        assert run(f"bash {sync.name}", folder).returncode != 0
        assert self.state(folder) == '{"at":1}\n'
