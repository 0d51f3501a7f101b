"""Secrets that are made up: kept whole, shown once, the same for all who start at once."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest

from pdpp_ref import credentials, private_files


def start(folder: Path) -> tuple[dict[str, str], str]:
    found = credentials.load(folder)
    return found.new_secrets, found.secret_key


@pytest.mark.slow
def test_programs_that_start_at_once_agree(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        started = pool.map(start, [tmp_path] * 4, chunksize=1)
    passwords = [new["owner password"] for new, _ in started if "owner password" in new]
    assert len(passwords) == 1
    assert len({key for _, key in started}) == 1
    assert credentials.load(tmp_path).is_owner(passwords[0])
    assert len(list(tmp_path.iterdir())) == 3, "nothing else is left behind"


@pytest.mark.parametrize("password", ["", "wrong", "\ud800", "\0"])
@pytest.mark.parametrize("given", ["", "right"])
def test_no_other_password_is_the_owners(tmp_path: Path, password: str, given: str) -> None:
    assert not credentials.load(tmp_path, password=given).is_owner(password)


def test_an_empty_file_is_an_error_and_not_an_empty_secret(tmp_path: Path) -> None:
    (tmp_path / "secret_key").touch()
    with pytest.raises(OSError, match="secret_key is empty"):
        credentials.load(tmp_path)


@pytest.mark.parametrize("rotations", [1, 3])
def test_a_file_is_replaced_whole(tmp_path: Path, rotations: int) -> None:
    known = credentials.load(tmp_path)
    first = known.new_secrets["operator token"]
    assert known.is_operator(f"Bearer {first}")
    for _ in range(rotations):
        second = credentials.rotate_operator_token(tmp_path)
    assert not known.is_operator(f"Bearer {first}")
    assert known.is_operator(f"Bearer {second}")
    assert credentials.load(tmp_path).is_operator(f"Bearer {second}")
    assert (tmp_path / "operator_token.hash").stat().st_mode & 0o777 == 0o600
    assert second not in (tmp_path / "operator_token.hash").read_text()
    assert len(list(tmp_path.iterdir())) == 3, "no part is left behind"


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_text("")])
def test_without_its_file_the_operators_token_is_as_before(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    known = credentials.load(tmp_path)
    damage(tmp_path / "operator_token.hash")
    assert known.is_operator(f"Bearer {known.new_secrets['operator token']}")
    assert not known.is_operator("Bearer ")


def test_a_replacement_that_fails_leaves_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    private_files.replace(file, "old")

    def fail(_: int) -> None:
        raise OSError

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError):  # noqa: PT011
        private_files.replace(file, "new")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert file.read_text() == "old"
