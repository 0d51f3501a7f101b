"""Secrets that are made up: kept whole, shown once, the same for all who start at once."""

import multiprocessing
from pathlib import Path

import pytest

from pdpp_ref import credentials


def start(folder: Path) -> tuple[dict[str, str], str]:
    found = credentials.load(folder)
    return found.new_secrets, found.secret_key


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
