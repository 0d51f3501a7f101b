"""The commands as a user runs them: real processes, real files, real pipes."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pdpp_ref.config import Settings
from pdpp_ref.descriptors import can_read
from tests.conftest import COMMAND, Backend, Run
from tests.support.command import started
from tests.support.probe import DatabaseProbe


def line(key: str, **more: Any) -> str:
    return json.dumps({"type": "RECORD", "stream": "s", "key": key, "data": {"k": key}, **more}) + "\n"


def summary(run: Run) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(run("summary").stdout)
    return body


def one_line(done: subprocess.CompletedProcess[str], code: int = 2) -> str:
    assert done.returncode == code, done
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


class TestImport:
    def test_a_file(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "in.jsonl").write_text(line("a") + "\n" + line("b") + line("a"))
        done = run("import", "in.jsonl", "--connection", "laptop")
        assert (done.returncode, done.stdout) == (0, "")
        assert "3 accepted (2 new, 0 changed, 0 deleted, 1 unchanged), 0 rejected" in done.stderr
        body = summary(run)
        assert (body["record_count"], body["connector_count"]) == (2, 1)
        assert body["top_connectors"][0]["connector_id"] == "laptop"
        assert body["projection"]["state"] == "fresh"

    @pytest.mark.parametrize("name", [[], ["-"]])
    def test_a_pipe(self, run: Run, name: list[str]) -> None:
        assert (
            run(
                "import", *name, "--connection", "laptop", "--connector", "files", stdin=line("a")
            ).returncode
            == 0
        )
        assert summary(run)["top_connectors"][0]["connector_id"] == "files"

    def test_bad_lines_are_reported_by_number_and_good_ones_stored(self, run: Run) -> None:
        lines = line("a") + "oops\n" + line("b") + line("c", data=[1]) + line("d")
        done = run("import", "--connection", "laptop", stdin=lines)
        assert done.returncode == 1
        assert "line 2: not JSON: a value is missing at character 1" in done.stderr
        assert "line 4: data must be an object" in done.stderr
        assert "3 new" in done.stderr
        assert "2 rejected" in done.stderr
        assert summary(run)["record_count"] == 3

    def test_a_byte_order_mark_does_no_harm(self, run: Run) -> None:
        assert (
            run("import", "--connection", "laptop", stdin=b"\xef\xbb\xbf" + line("a").encode()).returncode
            == 0
        )

    def test_the_last_line_needs_no_end_and_a_carriage_return_does_no_harm(self, run: Run) -> None:
        done = run("import", "--connection", "laptop", stdin=line("a").strip() + "\r\n" + line("b").strip())
        assert done.returncode == 0
        assert "2 new" in done.stderr

    def test_a_line_over_the_limit_is_rejected_by_itself(self, run: Run) -> None:
        lines = line("a") + "x" * (17 * 1024 * 1024) + "\n" + line("b")
        done = run("import", "--connection", "laptop", stdin=lines)
        assert done.returncode == 1
        assert "line 2: longer than 16,777,216 bytes" in done.stderr
        assert "2 new" in done.stderr

    def test_ignored_messages_are_counted_by_name(self, run: Run) -> None:
        lines = '{"type":"PROGRESS"}\n{"type":"DONE"}\n{"type":"PROGRESS","data":5}\n' + line("a")
        done = run("import", "--connection", "laptop", stdin=lines)
        assert done.returncode == 0
        assert "ignored 1 DONE, 2 PROGRESS" in done.stderr

    def test_invented_types_fill_neither_memory_nor_the_last_line(self, run: Run) -> None:
        done = run(
            "import", "--connection", "laptop", stdin="".join(f'{{"type":"T{n}"}}\n' for n in range(5000))
        )
        assert "4,980 " in done.stderr
        assert "of other types" in done.stderr
        assert len(done.stderr) < 1000

    def test_lines_that_no_decoder_likes_are_rejected_by_themselves(self, run: Run) -> None:
        lines = line("a").encode() + b'{"type":"STATE","value":"\xff"}\n' + line("b").encode()
        lines += b'{"stream":"s","key":"\\ud800","data":{"n":-0}}\n' + line("c").encode()
        done = run("import", "--connection", "laptop", stdin=lines)
        assert (done.returncode, done.stdout) == (1, "")
        assert "3 new" in done.stderr
        assert "2 rejected" in done.stderr

    def test_a_state_that_cannot_be_printed_is_reported(self, environment: dict[str, str]) -> None:
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [COMMAND, "import", "--connection", "c"],
                input='{"type":"STATE"}\n',
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
        assert done.returncode == 3
        assert "Error: a STATE can't be written" in done.stderr

    def test_states_are_printed_as_received_and_in_order(self, run: Run) -> None:
        states = ['{"type": "STATE", "value": {"n": 1}}', '{"type":"STATE","value":{"n":2}}']
        lines = states[0] + "\n" + line("a") + states[1] + "\n" + line("b")
        assert run("import", "--connection", "laptop", stdin=lines).stdout.splitlines() == states

    def test_a_state_comes_once_its_records_are_stored_even_while_the_pipe_stays_open(
        self, environment: dict[str, str], backend: Backend
    ) -> None:
        call = [COMMAND, "import", "--connection", "laptop"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        with started(call, **pipes, env=environment, text=True) as work:
            assert work.stdin
            assert work.stdout
            for number in range(3):
                work.stdin.write(line(f"k{number}") + f'{{"type":"STATE","value":{number}}}\n')
                work.stdin.flush()
                assert json.loads(work.stdout.readline())["value"] == number
                with backend.probe() as probe:
                    assert probe("SELECT COUNT(*) FROM records") == [(number + 1,)]
            work.stdin.close()
            assert work.wait(60) == 0

    def test_no_state_is_printed_whose_records_could_not_be_stored(
        self, run: Run, backend: Backend
    ) -> None:
        run("import", "--connection", "laptop", stdin=line("a"))
        with backend.probe() as probe:
            probe.fail("INSERT ON record_changes", "NEW.key = 'b'", why="SELECT secret /home")
        lines = '{"type":"STATE","value":1}\n' + line("b") + '{"type":"STATE","value":2}\n'
        done = run("import", "--connection", "laptop", stdin=lines)
        assert done.returncode == 3
        assert done.stdout == ""
        assert "Run the same import again" in done.stderr
        assert "secret" not in done.stderr
        assert run("verify").returncode == 0

    @pytest.mark.only("sqlite")
    def test_a_full_disk_loses_nothing_that_was_acknowledged(
        self, run: Run, environment: dict[str, str], tmp_path: Path
    ) -> None:
        lines = [line(f"{n:06}", data={"t": "x" * 300}) for n in range(30_000)]
        for number in range(1000, len(lines) + 1, 1000):
            lines[number - 1] += f'{{"type":"STATE","value":{number}}}\n'
        (tmp_path / "in.jsonl").write_text("".join(lines))
        # A limit on the size of files is a disk that fills up at a moment of our choosing.
        done = subprocess.run(
            ["bash", "-c", f"ulimit -f 14000; exec {COMMAND} import in.jsonl --connection laptop"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 3, done.stderr
        assert "Run the same import again" in done.stderr
        assert "Traceback" not in done.stderr
        acknowledged = json.loads(done.stdout.splitlines()[-1])["value"]
        assert 0 < acknowledged < 30_000
        assert summary(run)["record_count"] >= acknowledged
        assert run("verify").returncode == 0
        assert "0 rejected" in run("import", "in.jsonl", "--connection", "laptop").stderr
        assert summary(run)["record_count"] == 30_000
        assert run("verify").returncode == 0

    def test_again_is_a_no_op(self, run: Run) -> None:
        lines = "".join(line(str(n)) for n in range(5000))
        run("import", "--connection", "laptop", stdin=lines)
        before = summary(run)
        done = run("import", "--connection", "laptop", stdin=lines)
        assert "5,000 unchanged" in done.stderr
        assert summary(run) == before

    def test_a_singer_tap(self, run: Run) -> None:
        lines = (
            '{"type":"STATE","value":{}}\n'
            '{"type":"SCHEMA","stream":"users","schema":{},"key_properties":["id","org"]}\n'
            '{"type":"RECORD","stream":"users","record":{"id":1,"org":"x","n":1.10},"time_extracted":"2024-01-01T00:00:00Z","version":1}\n'
            '{"type":"RECORD","stream":"users","record":{"id":2,"org":"x","n":2},"version":1}\n'
            '{"type":"RECORD","stream":"users","record":{"id":2,"org":"x","n":2},"version":2}\n'
            '{"type":"ACTIVATE_VERSION","stream":"users","version":2}\n'
        )
        done = run("import", "--connection", "crm", stdin=lines)
        assert done.returncode == 0
        assert "3 accepted (2 new, 0 changed, 0 deleted, 1 unchanged), 1 removed" in done.stderr
        assert summary(run)["record_count"] == 1
        assert run("verify").returncode == 0

    @pytest.mark.only("sqlite")
    @pytest.mark.parametrize(
        ("arguments", "reported"),
        [
            ([], "--connection NAME"),
            (["none.jsonl", "--connection", "c"], "there is no file 'none.jsonl'"),
            ([".", "--connection", "c"], "is a folder"),
            (["empty", "--connection", "c"], "'empty' is empty"),
            (["utf16", "--connection", "c"], "UTF-16"),
            (["other.sqlite3", "--connection", "c"], "is a database"),
            (["--connection", ""], "--connection is empty"),
            (["--connection", "\udcff"], "--connection holds half of a surrogate pair"),
            (["--connection", "x" * 3000], "longer than 2,048 bytes"),
            (["ok", "--connection", "laptop", "--connector", "other"], "belongs to connector 'laptop'"),
        ],
    )
    def test_a_wrong_call_is_one_line_and_changes_nothing(
        self, run: Run, tmp_path: Path, arguments: list[str], reported: str
    ) -> None:
        run("import", "--connection", "laptop", stdin=line("a"))
        (tmp_path / "empty").touch()
        (tmp_path / "utf16").write_text(line("b"), encoding="utf-16")
        (tmp_path / "ok").write_text(line("b"))
        (tmp_path / "other.sqlite3").write_bytes(b"SQLite format 3\0")
        before = summary(run)
        assert reported in one_line(run("import", *arguments))
        assert summary(run) == before


class TestMaintenance:
    @pytest.fixture(autouse=True)
    def _records(self, run: Run) -> None:
        run("import", "--connection", "laptop", stdin=line("a") + line("b", stream="t\nu"))

    @pytest.mark.parametrize(
        "where", [[], ["--connection", "laptop"], ["--connection", "laptop", "--stream", "t\nu"]]
    )
    def test_mark_then_reconcile(self, run: Run, backend: Backend, where: list[str]) -> None:
        done = run("mark-dirty", *where)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("\n") == 1
        with backend.probe() as probe:
            assert probe("SELECT dirty FROM retained_size_global") == [(1,)]
        assert "Totals are marked." in run("verify").stdout
        assert run("reconcile").returncode == 0
        assert summary(run)["projection"]["state"] == "fresh"

    def test_verify_reports_every_difference_and_writes_nothing(self, run: Run, backend: Backend) -> None:
        with backend.probe() as probe:
            probe("UPDATE retained_size_stream SET record_count = 9")
        for _ in range(2):
            done = run("verify")
            assert done.returncode == 1
            assert "stream laptop s: record_count is 9, recomputed it is 1" in done.stdout
            assert 'stream laptop "t\\nu": record_count' in done.stdout
            assert done.stdout.endswith("2 differences.\n")
        assert run("rebuild").returncode == 0
        assert run("verify").stdout == "No differences.\n"

    def test_rebuild_ranks_again_if_it_is_asked_to(self, run: Run, backend: Backend) -> None:
        with backend.probe() as probe:
            ((key,),) = probe("SELECT MIN(key) FROM records WHERE ranked")
            probe(f"UPDATE records SET ranked = FALSE WHERE key = '{key}'")
        assert run("rebuild").returncode == 0
        done = run("verify")
        assert f"{key}: ranked is 0, recomputed it is 1" in done.stdout
        assert done.returncode == 1
        done = run("rebuild", "--rankings")
        assert done.stdout.splitlines()[-1] == "Rankings are right, too."
        assert run("verify").stdout == "No differences.\n"

    @pytest.mark.only("sqlite")
    @pytest.mark.parametrize(
        ("arguments", "reported"),
        [
            (["--connection", "phone"], "there is no connection phone; there are laptop"),
            (["--connection", "laptop", "--stream", "zz"], 'has no stream zz; there are s, "t\\nu"'),
            (["--stream", "s"], "--stream needs --connection"),
            (["--connection", "\udcff"], "--connection holds half of a surrogate pair"),
        ],
    )
    def test_an_unknown_name_is_one_line_and_changes_nothing(
        self, run: Run, arguments: list[str], reported: str
    ) -> None:
        before = summary(run)
        assert reported in one_line(run("mark-dirty", *arguments))
        assert summary(run) == before

    def test_history_is_pruned_to_what_is_asked_for(self, run: Run) -> None:
        for text in ("one", "two", "three"):
            run("import", "--connection", "laptop", stdin=line("a", data={"t": text}))
        done = run("prune-history", "--keep", "2", "--connection", "laptop", "--dry-run")
        foreseen = "Would forget 2 versions, 20 bytes.  Nothing was changed."
        assert done.stdout.splitlines() == ["laptop s: 2 versions, 20 bytes", foreseen]
        done = run("prune-history", "--keep", "2", "--connection", "laptop", "--stream", "s")
        assert (done.returncode, done.stdout) == (0, "Forgot 2 versions, 20 bytes.\n")
        assert run("verify").stdout == "No differences.\n"
        assert run("prune-history", "--keep", "1").stdout == "Forgot 1 version, 11 bytes.\n"

    @pytest.mark.only("sqlite")
    @pytest.mark.parametrize(
        ("arguments", "reported"),
        [
            ([], "--keep"),
            (["--keep", "1", "--before", "2026-01-31"], "--keep N or --before TIME"),
            (["--before", "yesterday"], "--before"),
            (["--keep", "0"], "--keep"),
            (["--keep", "1", "--stream", "s"], "--stream needs --connection"),
            (["--keep", "1", "--connection", "phone"], "there is no connection phone"),
            (["--keep", "1", "--connection", "laptop", "--stream", "zz"], "has no stream zz"),
        ],
    )
    def test_pruning_what_is_not_there_is_refused(
        self, run: Run, arguments: list[str], reported: str
    ) -> None:
        done = run("prune-history", *arguments)
        assert done.returncode == 2
        assert reported in done.stderr

    def test_a_record_then_a_stream_then_a_connection_is_deleted(self, run: Run) -> None:
        run("import", "--connection", "phone", stdin=line("a") + line("b") + line("a", stream="t"))
        for arguments, printed in (
            (["--stream", "s", "--key", "a"], "Deleted record a of stream s of connection phone.\n"),
            (["--stream", "s"], "Deleted stream s of connection phone.\nRemoved 7 rows.\n"),
            ([], "Deleted connection phone.\nRemoved 4 rows.\n"),
        ):
            done = run("delete", "--connection", "phone", *arguments)
            assert (done.returncode, done.stdout) == (0, printed)
        assert run("verify").stdout == "No differences.\n"
        assert summary(run)["record_count"] == 2

    @pytest.mark.only("sqlite")
    def test_deleting_what_is_not_there_is_refused(self, run: Run) -> None:
        for arguments, reported in (
            ([], "--connection"),
            (["--connection", "phone"], "there is no connection phone"),
            (["--connection", "laptop", "--stream", "zz"], "has no stream zz"),
            (["--connection", "laptop", "--stream", "s", "--key", "zz"], "has no record zz"),
            (["--connection", "laptop", "--key", "a"], "--key needs --stream"),
        ):
            done = run("delete", *arguments)
            assert done.returncode == 2
            assert reported in done.stderr
        assert summary(run)["record_count"] == 2

    def test_a_locked_database_is_one_line_that_says_to_try_again(self, run: Run, backend: Backend) -> None:
        with backend.probe() as holder:
            holder("BEGIN IMMEDIATE" if backend.kind == "sqlite" else "BEGIN")
            holder("UPDATE retained_size_global SET dirty = dirty")
            assert "busy with another writer" in one_line(run("mark-dirty"), code=3)
            assert run("summary").returncode == 0, "a read does not wait"


@pytest.mark.only("sqlite")
class TestSettings:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("PDPP_RECONCILE_MAX_ROWS", "0"),
            ("PDPP_RECONCILE_MAX_ROWS", "many"),
            ("PDPP_RECONCILE_BUDGET_MS", "2.5"),
            ("PDPP_RECONCILE_COOLDOWN_SECONDS", "-1"),
            ("PDPP_HERO_POLL_SECONDS", "[1]"),
            ("PDPP_HERO_POLL_SECONDS", "99999"),
            ("PDPP_DATABASE_URL", "mysql://localhost/x"),
            ("PDPP_DATABASE_URL", "sqlite:///:memory:"),
            ("PDPP_DATABASE_URL", "sqlite://file"),
            ("PDPP_DATABASE_URL", "nonsense"),
            ("PDPP_DATABASE_URL", "sqlite://[x"),
            ("PDPP_DATABASE_URL", "sqlite:////tmp/\udcff.db"),
        ],
    )
    @pytest.mark.parametrize("command", ["summary", "serve"])
    def test_a_wrong_value_is_one_line_that_names_its_variable(
        self, run: Run, name: str, value: str, command: str
    ) -> None:
        assert name in one_line(run(command, **{name: value}))

    def test_an_instance_folder_that_cannot_be_written_is_one_line(self, run: Run) -> None:
        assert "PDPP_INSTANCE_PATH" in one_line(run("serve", PDPP_INSTANCE_PATH="/proc"))

    def test_a_numeric_password_stays_text(self, make_app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PDPP_OWNER_PASSWORD", "007")
        assert Settings.load().owner_password == "007"
        assert make_app(OWNER_PASSWORD="007").extensions["credentials"].is_owner("007")

    @pytest.mark.parametrize(
        "content", [b"not a database, surely" * 100, b"SQLite format 3\0" + b"\xff" * 5000]
    )
    @pytest.mark.only("sqlite")
    def test_a_file_that_is_no_database_is_left_alone(
        self, run: Run, tmp_path: Path, content: bytes
    ) -> None:
        (tmp_path / "test.sqlite3").write_bytes(content)
        one_line(run("summary"))
        assert (tmp_path / "test.sqlite3").read_bytes() == content

    @pytest.mark.only("sqlite")
    def test_another_programs_file_is_left_alone(self, run: Run, tmp_path: Path) -> None:
        with DatabaseProbe(tmp_path / "test.sqlite3") as other:
            other("CREATE TABLE theirs (x)")
        before = (tmp_path / "test.sqlite3").read_bytes()
        assert "tables of another program" in one_line(run("import", "--connection", "c", stdin=line("a")))
        assert (tmp_path / "test.sqlite3").read_bytes() == before

    @pytest.mark.only("sqlite", "postgres")
    def test_a_newer_database_is_left_alone(self, run: Run, backend: Backend) -> None:
        run("summary")
        with backend.probe() as newer:
            newer("UPDATE pdpp_ref_schema SET version = 999")
        assert "install a newer pdpp-ref" in one_line(run("summary"))

    def test_a_folder_that_is_not_there(self, run: Run, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/none/data.sqlite3"
        reported = one_line(run("summary", PDPP_DATABASE_URL=url))
        assert "folder of the database file does not exist" in reported
        assert str(tmp_path) not in reported

    @pytest.mark.parametrize(
        "arguments", [["nonsense"], ["serve", "--port", "x"], ["import", "--nonsense"]]
    )
    def test_usage_errors_exit_2(self, run: Run, arguments: list[str]) -> None:
        assert run(*arguments).returncode == 2


@pytest.mark.only("sqlite")
class TestServe:
    @pytest.fixture
    def port(self) -> Iterator[int]:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            yield taken.getsockname()[1]

    def test_a_port_in_use_is_one_line(self, run: Run, port: int) -> None:
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", 0))
            holder.listen()
            used = holder.getsockname()[1]
            done = run("serve", "--port", str(used), PDPP_OWNER_PASSWORD="p", PDPP_OPERATOR_TOKEN="t")
        assert f"port {used} is in use" in one_line(done)

    @pytest.mark.parametrize(
        "command",
        [[COMMAND, "serve", "--port"], [sys.executable, "app.py", "--port"], [COMMAND, "demo", "--port"]],
        ids=["serve", "app.py", "demo"],
    )
    def test_it_listens_on_loopback_and_shows_the_way_in(
        self, environment: dict[str, str], command: list[str]
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        root = Path(__file__).parents[2]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with started([*command, str(port)], cwd=root, env=environment, text=True, **pipes) as server:
            assert server.stdout
            reported = ""
            while "Ctrl-C" not in reported:
                read = server.stdout.readline()
                assert read, reported
                reported += read
            assert f"http://127.0.0.1:{port}/dashboard" in reported
            assert "password" in reported
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.sendall(b"GET /owner/login HTTP/1.0\r\n\r\n")
                assert client.recv(12) == b"HTTP/1.1 200"
            server.terminate()
            assert server.wait(60) == 0

    @staticmethod
    def flask_routes(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flask", "--app", "app", "routes"],
            cwd=Path(__file__).parents[2],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def test_flask_run_finds_the_application(self, environment: dict[str, str]) -> None:
        done = self.flask_routes(environment | {"PDPP_OWNER_PASSWORD": "p"})
        assert "/_ref/dataset/summary" in done.stdout

    def test_flask_run_with_a_wrong_setting_is_one_line(self, environment: dict[str, str]) -> None:
        done = self.flask_routes(environment | {"PDPP_RECONCILE_MAX_ROWS": "x"})
        assert done.returncode == 2
        assert "PDPP_RECONCILE_MAX_ROWS" in done.stderr
        assert "Traceback" not in done.stderr


def test_import_memory_stays_flat(environment: dict[str, str], tmp_path: Path, backend: Backend) -> None:
    """Three times the lines take no more memory: nothing is kept but one batch."""

    def peak(records: int) -> int:
        file = tmp_path / f"{records}.jsonl"
        with file.open("w") as out:
            out.writelines(line(f"{records} {n}", data={"t": "x" * 200}) for n in range(records))
        # A child's peak begins at that of the process that starts it, so a small one stands between.
        launch = (
            "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stderr=-3); "
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        call = [sys.executable, "-c", launch, COMMAND, "import", str(file), "--connection", "c"]
        return int(subprocess.run(call, env=environment, check=True, capture_output=True).stdout)

    # Enough of them for SQLite's page cache, 32 MB, to be full both times.
    some = 50_000 if backend.kind == "sqlite" else 15_000
    few, many = peak(some), peak(3 * some)
    assert many < few * 1.2
    assert many < 150 * 1024


def test_progress_is_reported_on_standard_error(
    run: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    call = [COMMAND, "import", "--connection", "c"]
    pipes = dict.fromkeys(("stdin", "stderr"), subprocess.PIPE)
    with started(call, **pipes, env=environment, text=True) as work:
        assert work.stdin
        assert work.stderr
        for number in range(1_000):
            work.stdin.write(line(str(number)))
            work.stdin.flush()
            if can_read(work.stderr.fileno(), 0.1):
                break
        reported = work.communicate(timeout=60)[1].splitlines()
    assert len(reported) >= 2
    assert "lines, " in reported[0]
    assert f"{number + 1} accepted" in reported[-1]
