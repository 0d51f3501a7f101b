"""The examples in docs/deploy: they match the program.  `make check-deploy` runs them for real."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pdpp_ref import config
from pdpp_ref.blueprints.limits import MAX_FORM_BYTES, MAX_INGEST_BYTES
from pdpp_ref.cli.main import COMMANDS
from pdpp_ref.cli.serve import PORT
from pdpp_ref.database import PROBLEM_TEXT
from tests.support.server_process import Server

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs" / "deploy"
VARIABLES = {each.variable for each in config.declarations()}


def instructions() -> list[tuple[str, str]]:
    """The Containerfile's instructions with their arguments, long lines joined."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Containerfile").read_text(), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line]
    return [(name, rest.strip()) for name, rest in (line.split(" ", 1) for line in lines)]


def last(name: str) -> str:
    return [rest for each, rest in instructions() if each == name][-1]


class TestContainerfile:
    def test_the_program_does_not_run_as_root(self) -> None:
        assert all(int(number) > 0 for number in last("USER").split(":"))

    def test_the_volume_is_the_instance_folder_and_belongs_to_the_user(self) -> None:
        folder = dict(part.split("=") for part in shlex.split(last("ENV")))["PDPP_INSTANCE_PATH"]
        user, group = last("USER").split(":")
        assert last("VOLUME") == folder
        assert last("RUN") == f"install -d -m 0700 -o {user} -g {group} {folder}"

    def test_it_serves_on_the_port_that_it_exposes(self) -> None:
        assert json.loads(last("ENTRYPOINT")) == ["pdpp-ref"]
        assert json.loads(last("CMD"))[0] in COMMANDS
        assert int(last("EXPOSE")) == PORT

    def test_what_it_copies_is_enough_to_install_the_program(self, tmp_path: Path) -> None:
        copied = [rest.split() for name, rest in instructions() if name == "COPY" and "--from" not in rest]
        for *sources, target in copied:
            assert "." not in sources, "a checkout has data and an environment"
            for source in sources:
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, tmp_path / target, dirs_exist_ok=True)
                else:
                    shutil.copy(ROOT / source, tmp_path / target)
        install = [rest for name, rest in instructions() if name == "RUN" and rest.endswith(" .")]
        (options,) = [shlex.split(line)[2:-1] for line in install]
        build = [
            sys.executable,
            "-m",
            "pip",
            "install",
            *options,
            "--target",
            str(tmp_path / "installed"),
            ".",
        ]
        subprocess.run(build, cwd=tmp_path, check=True, capture_output=True)
        assert (tmp_path / "installed" / "pdpp_ref" / "templates" / "base.html").exists()
        assert (tmp_path / "installed" / "bin" / "pdpp-ref").exists()

    def test_its_health_check_fails_if_no_server_answers(self, tmp_path: Path) -> None:
        _, command = last("HEALTHCHECK").split("CMD ", 1)
        program, option, script = json.loads(command)
        assert (program, option) == ("python3", "-c")
        assert f"127.0.0.1:{PORT}" in script
        with Server(tmp_path) as server:
            check = [sys.executable, "-c", script.replace(f"127.0.0.1:{PORT}", server.url.split("//")[1])]
            assert subprocess.run(check, capture_output=True).returncode == 0
        assert subprocess.run(check, capture_output=True).returncode == 1


class TestUnit:
    @pytest.fixture
    def unit(self) -> dict[str, str]:
        lines = (DEPLOY / "pdpp-ref.service").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line and line[0].isalpha())

    def test_it_serves_from_its_state_directory(self, unit: dict[str, str]) -> None:
        program, command = unit["ExecStart"].split()
        assert Path(program).name == "pdpp-ref"
        assert command in COMMANDS
        variable, folder = unit["Environment"].split("=")
        assert variable in VARIABLES
        assert folder == f"/var/lib/{unit['StateDirectory']}"

    def test_a_wrong_setup_is_not_retried(self, unit: dict[str, str], tmp_path: Path) -> None:
        assert unit["Restart"] == "on-failure"
        done = subprocess.run(
            [sys.executable, "-m", "pdpp_ref", "serve"],
            env={"PDPP_INSTANCE_PATH": str(tmp_path), "PDPP_TRUSTED_PROXIES": "many"},
            capture_output=True,
        )
        assert str(done.returncode) == unit["RestartPreventExitStatus"]


@pytest.mark.parametrize("name", ["nginx.conf", "nginx-prefix.conf", "Caddyfile", "Caddyfile-prefix"])
def test_proxies_pass_requests_to_the_port_of_the_server(name: str) -> None:
    assert f"127.0.0.1:{PORT}" in (DEPLOY / name).read_text()


def test_nginx_lets_through_what_the_server_accepts() -> None:
    text = (DEPLOY / "nginx.conf").read_text()
    assert f"client_max_body_size {MAX_INGEST_BYTES // 1024**3}g;" in text
    assert f"more than {MAX_FORM_BYTES // 1024**2} MiB without a token" in text


@pytest.mark.parametrize("message", PROBLEM_TEXT.values())
def test_the_guide_says_what_to_do_for_each_error_of_the_database(message: str) -> None:
    assert f"\n| {message} | " in (ROOT / "docs" / "operating.md").read_text()
