"""The files that the program makes: whose they are, whether they are whole, and where they are.

By the real command, under a umask that would let anybody in.  A disk that lacks something is one
where the system's own call says so: `faults` puts that into the command's process.
"""

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from pdpp_ref import credentials, instance_folder, notices
from pdpp_ref.config import Settings
from pdpp_ref.database import db
from tests.support.command import PROGRAM, started
from tests.support.probe import DatabaseProbe
from tests.support.server_process import Server

LINE = '{"type": "RECORD", "stream": "notes", "key": "a", "data": {"t": 1}}\n'


def environment(**settings: object) -> dict[str, str]:
    found = {name: value for name, value in os.environ.items() if not name.startswith("PDPP_")}
    return found | {name: str(value) for name, value in settings.items()}


def call(
    *arguments: object, given: str = "", umask: int = 0, program: object = PROGRAM, **settings: object
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program), *map(str, arguments)],
        env=environment(**settings),
        input=given,
        capture_output=True,
        text=True,
        umask=umask,
        check=False,
    )


def modes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): f"{path.stat().st_mode & 0o777:o}"
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    """A folder that has been used."""
    folder = tmp_path / "used"
    assert call("import", "--connection", "c", given=LINE, PDPP_INSTANCE_PATH=folder).returncode == 0
    credentials.load(folder)
    return folder


# ---- its owner's alone -------------------------------------------------------------------------


def test_whatever_the_umask_all_files_are_their_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "above" / "instance"
    settings = environment(PDPP_INSTANCE_PATH=folder)
    importing = [PROGRAM, "import", "--connection", "c"]
    with started(importing, env=settings, umask=0, stdin=subprocess.PIPE) as work:
        until = time.monotonic() + 60
        while not (folder / "pdpp-ref.sqlite3-shm").exists() and time.monotonic() < until:
            time.sleep(0.02)
        found = modes(folder)
        assert set(found) == {f"pdpp-ref.sqlite3{each}" for each in ("", "-wal", "-shm")}
        assert set(found.values()) == {"600"}
        work.communicate(b"", timeout=60)
    assert {f"{path.stat().st_mode & 0o777:o}" for path in (folder, folder.parent)} == {"700"}
    assert set(modes(folder).values()) == {"600"}


def test_a_database_file_is_its_owners_alone_from_its_beginning(tmp_path: Path) -> None:
    """Before anything is known of it, and as SQLite has it open."""
    code = "import sys, pathlib; from pdpp_ref import database; database.from_url(sys.argv[1], pathlib.Path()).connect()"
    done = call("-c", code, f"sqlite:///{tmp_path}/new", program=sys.executable)
    assert done.returncode == 0, done.stderr
    assert modes(tmp_path) == {"new": "600"}


def test_files_that_others_could_read_are_closed_to_them(instance: Path) -> None:
    with DatabaseProbe(instance / "pdpp-ref.sqlite3") as probe:
        probe("UPDATE retained_size_global SET dirty = dirty")
        for path in instance.iterdir():
            path.chmod(0o666)
        assert len(modes(instance)) == 6, "with the log and its index"
        with Server(instance, DATABASE_URL="", OWNER_PASSWORD="", OPERATOR_TOKEN=""):
            assert set(modes(instance).values()) == {"600"}


def test_a_database_file_that_may_not_be_written_stays_so(instance: Path) -> None:
    file = instance / "pdpp-ref.sqlite3"
    file.chmod(0o444)
    call("summary", PDPP_INSTANCE_PATH=instance)
    assert f"{file.stat().st_mode & 0o777:o}" == "400"


@pytest.mark.parametrize("before", [False, True])
def test_targets_of_copy_and_backup_are_their_owners_alone(
    instance: Path, tmp_path: Path, before: bool
) -> None:
    target = tmp_path / "copy.sqlite3"
    if before:
        target.touch(0o666)
        target.chmod(0o666)
    done = call("copy", "--to", f"sqlite:///{target}", PDPP_INSTANCE_PATH=instance)
    assert done.returncode == 0, done.stderr
    assert target.stat().st_mode & 0o777 == 0o600
    assert call("backup", tmp_path / "backup", PDPP_INSTANCE_PATH=instance).returncode == 0
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o600


def test_the_demo_is_its_owners_alone(tmp_path: Path) -> None:
    with Server(tmp_path / "demo of", command="demo", DATABASE_URL="") as server:
        assert set(modes(server.database.parent).values()) == {"600"}


@pytest.mark.parametrize(
    ("mode", "reported"), [(0o700, False), (0o755, True), (0o710, True), (0o704, True)]
)
def test_a_folder_that_others_can_look_into_is_reported_with_what_closes_it(
    tmp_path: Path, mode: int, reported: bool
) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    folder.chmod(mode)
    done = call("summary", PDPP_INSTANCE_PATH=folder)
    lines = done.stderr.splitlines()
    assert (
        lines
        == [f"Others can look into the instance folder.  Close it with: chmod 700 '{folder}'"] * reported
    )
    if reported:
        subprocess.run(lines[0].split(": ", 1)[1], shell=True, check=True)
        assert call("summary", PDPP_INSTANCE_PATH=folder).stderr == ""


# ---- whole or not at all -----------------------------------------------------------------------

NO_LINKS = "import os\ndef link(*_, **__): raise OSError({}, 'no links')\nos.link = link\n"
NO_RENAME = "import ctypes\ndef library(*_, **__): raise OSError\nctypes.CDLL = library\n"
APPEARS = "import os\ndef fsync(_): open(os.environ['APPEARS'], 'x').write('mine')\nos.fsync = fsync\n"
KILLED = "import os\ndef fsync(_): os.kill(os.getpid(), 9)\nos.fsync = fsync\n"
WAYS = {
    "links": "",
    "EPERM": NO_LINKS.format(errno.EPERM),
    "ENOTSUP": NO_LINKS.format(errno.ENOTSUP),
    "no such rename either": NO_LINKS.format(errno.EPERM) + NO_RENAME,
}


@pytest.fixture
def faults(tmp_path: Path) -> Iterator[Path]:
    """What a `sitecustomize.py` in this folder does, the command's process does at its start."""
    folder = tmp_path / "faults"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def paths(faults: Path) -> str:
    """The faults, then the program that is tested, which may be a copy."""
    return os.pathsep.join((str(faults), *sys.path))


def backup_with(fault: str, faults: Path, instance: Path, target: Path) -> subprocess.CompletedProcess[str]:
    (faults / "sitecustomize.py").write_text(fault)
    return call("backup", target, PDPP_INSTANCE_PATH=instance, PYTHONPATH=paths(faults), APPEARS=target)


def assert_whole(backup: Path) -> None:
    with DatabaseProbe(backup) as probe:
        assert probe("SELECT key FROM records") == [("a",)]
        assert not probe.is_corrupt()


@pytest.mark.parametrize("way", WAYS)
def test_a_backup_needs_no_hard_links(faults: Path, instance: Path, tmp_path: Path, way: str) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    done = backup_with(WAYS[way], faults, instance, folder / "b")
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in folder.iterdir()] == ["b"]
    assert_whole(folder / "b")
    again = backup_with(WAYS[way], faults, instance, folder / "b")
    assert (again.returncode, again.stderr) == (2, "Error: b exists; name a new file\n")


@pytest.mark.parametrize("way", WAYS)
def test_a_file_that_appears_during_a_backup_is_not_replaced(
    faults: Path, instance: Path, tmp_path: Path, way: str
) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    done = backup_with(APPEARS + WAYS[way], faults, instance, folder / "b")
    assert (done.returncode, done.stderr) == (2, "Error: b exists; name a new file\n")
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("b", "mine")]


@pytest.mark.parametrize("way", WAYS)
def test_secrets_need_no_hard_links(faults: Path, tmp_path: Path, way: str) -> None:
    (faults / "sitecustomize.py").write_text(WAYS[way])
    code = "import sys, pathlib; from pdpp_ref import credentials as c; print(c.load(pathlib.Path(sys.argv[1])).new_secrets)"
    folder = tmp_path / "secrets"
    folder.mkdir()
    done = call("-c", code, folder, program=sys.executable, PYTHONPATH=paths(faults))
    assert done.returncode == 0, done.stderr
    assert modes(folder) == dict.fromkeys(
        ("operator_token.hash", "owner_password.hash", "secret_key"), "600"
    )
    assert credentials.load(folder).new_secrets == {}


def test_a_backup_that_was_killed_leaves_nothing_that_counts(
    faults: Path, instance: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    assert backup_with(KILLED, faults, instance, folder / "b").returncode == -signal.SIGKILL
    (left,) = folder.iterdir()
    assert left.suffix == ".part"
    other = folder / ".c.0123456789abcdef.part"
    for path in (other, folder / "b.7.part", left.with_name(f"{left.name}-journal")):
        path.write_text("of another file, or another program")
    assert backup_with("", faults, instance, folder / "b").returncode == 0
    assert sorted(path.name for path in folder.iterdir()) == [other.name, "b", "b.7.part"]
    assert_whole(folder / "b")


def test_the_part_of_a_backup_that_runs_is_left_alone(faults: Path, instance: Path, tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    part = folder / ".b.0123456789abcdef.part"
    part.touch()
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        assert backup_with("", faults, instance, folder / "b").returncode == 0
    finally:
        os.close(descriptor)
    assert part.exists()


@pytest.mark.only("sqlite")
@pytest.mark.usefixtures("app")
@pytest.mark.parametrize("what", ["backup", "secrets"])
def test_what_is_written_is_on_the_disk_before_it_has_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str
) -> None:
    folder, seen = tmp_path / "disk", []
    folder.mkdir()
    fsync, link = os.fsync, os.link

    def synced(descriptor: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        seen.append("folder" if name == folder else name.suffix)
        fsync(descriptor)

    def linked(source: Path, target: Path) -> None:
        seen.append("name")
        link(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "link", linked)
    if what == "backup":
        db.back_up(str(folder / "b"))
    else:
        credentials.load(folder, password="p", token="t")
    assert seen == [".part", "name", "folder"]


FULL = "import os, errno\ndef fsync(_): raise OSError(errno.ENOSPC, 'no space')\nos.fsync = fsync\n"


def test_a_disk_that_is_full_at_the_end_is_reported_and_nothing_stays(
    faults: Path, instance: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    done = backup_with(FULL, faults, instance, folder / "b")
    assert (done.returncode, list(folder.iterdir())) == (3, [])
    assert (
        done.stderr == "Error: no space is left for b; the file was removed, so free some and try again\n"
    )


@pytest.mark.parametrize("room", [40_000, 100_000, 200_000])
def test_a_disk_that_fills_up_is_reported_and_nothing_stays(
    instance: Path, tmp_path: Path, room: int
) -> None:
    """A limit on the size of a process's files is a disk that is full, which SQLite calls a failure."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = f"ulimit -f {room // 512} && exec {PROGRAM} backup {folder}/b"
    done = call("-c", command, program="/bin/sh", PDPP_INSTANCE_PATH=instance)
    assert (done.returncode, list(folder.iterdir())) == (3, [])
    assert done.stderr == "Error: b can't be written and was removed; try again\n"


# ---- where they are ----------------------------------------------------------------------------


class TestPlace:
    @pytest.fixture
    def places(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, Path]:
        """An installed package, the folder that Flask would take, and that of the user's data."""
        home = tmp_path / "home of me"
        monkeypatch.setenv("XDG_DATA_HOME", str(home))
        package = tmp_path / "environment" / "site-packages" / "pdpp_ref"
        (package / "templates").mkdir(parents=True)
        notices.show_once.cache_clear()
        return package, instance_folder.in_environment(package), home / "pdpp-ref"

    def test_what_is_set_wins(self, places: tuple[Path, Path, Path], tmp_path: Path) -> None:
        assert (
            instance_folder.path_for(Settings(instance_path=f"{tmp_path}/set"), places[0])
            == tmp_path / "set"
        )

    def test_a_checkout_keeps_its_own(self, tmp_path: Path) -> None:
        (tmp_path / "pyproject.toml").touch()
        assert instance_folder.path_for(Settings(), tmp_path / "pdpp_ref") == tmp_path / "instance"

    def test_a_file_of_another_package_makes_no_checkout(self, places: tuple[Path, Path, Path]) -> None:
        package, _, place = places
        (package.parent / "pyproject.toml").touch()
        assert instance_folder._choose(package / "none", place) == place
        assert instance_folder.path_for(Settings(), package) != package.parent / "instance"

    @pytest.mark.parametrize("name", instance_folder.INSTANCE_FILES)
    @pytest.mark.parametrize("exists", [False, True])
    def test_a_folder_in_use_is_used_on_and_the_command_moves_it(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, exists: bool
    ) -> None:
        notices.show_once.cache_clear()
        former, place = tmp_path / "the old one", tmp_path / "the" / "new one"
        former.mkdir()
        if exists:
            place.mkdir(parents=True)
        assert instance_folder._choose(former, place) == place
        (former / name).write_text("mine")
        assert caplog.messages == []
        assert instance_folder._choose(former, place) == former
        (line,) = caplog.messages
        caplog.clear()
        subprocess.run(line.split("run: ", 1)[1], shell=True, check=True)
        assert instance_folder._choose(former, place) == place
        assert (place / name).read_text() == "mine"
        assert caplog.messages == []

    def test_of_two_in_use_the_new_one_is_used(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        notices.show_once.cache_clear()
        former, place = tmp_path / "old", tmp_path / "new"
        for folder in (former, place):
            folder.mkdir()
            (folder / "secret_key").touch()
        assert instance_folder._choose(former, place) == place
        (line,) = caplog.messages
        caplog.clear()
        assert str(former) in line
        assert str(place) in line


def test_data_outlives_an_environment_that_is_made_again(tmp_path: Path) -> None:
    """A real wheel in a real environment, which has what it depends on from the tests' own."""
    root = Path(__file__).parents[2]
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(tmp_path), str(root)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    tool = tmp_path / "tool"
    settings = {"HOME": tmp_path / "home", "XDG_DATA_HOME": "", "PYTHONPATH": ""}

    def install() -> Path:
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(tool)], check=True)
        (packages,) = tool.glob("lib/python*/site-packages")
        (packages / "others.pth").write_text(str(Path(apsw.__file__).parent.parent))
        python = ["--python", str(tool / "bin" / "python")]
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pip",
                *python,
                "install",
                "--quiet",
                "--no-deps",
                "--no-index",
                str(wheel),
            ],
            check=True,
        )
        return tool / "bin" / "pdpp-ref"

    program = install()
    done = call("import", "--connection", "c", given=LINE, program=program, **settings)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "home" / ".local" / "share" / "pdpp-ref"
    if sys.platform == "linux":
        assert modes(folder) == {"pdpp-ref.sqlite3": "600"}
    program = install()
    done = call("summary", program=program, **settings)
    assert '"record_count": 1' in done.stdout.replace('":1', '": 1'), done.stderr
    # As an older version left it: inside the environment.
    former = tool / "var" / "pdpp_ref-instance"
    former.parent.mkdir()
    shutil.move(folder, former)
    done = call("summary", program=program, **settings)
    assert done.stderr.count("\n") == 1
    assert '"record_count": 1' in done.stdout.replace('":1', '": 1')
    subprocess.run(done.stderr.split("run: ", 1)[1], shell=True, check=True, env=environment(**settings))
    done = call("summary", program=program, **settings)
    assert ('"record_count": 1' in done.stdout.replace('":1', '": 1'), done.stderr) == (True, "")
    assert not former.exists()
