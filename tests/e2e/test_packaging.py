"""What is built: the wheel and the source archive have all they need, and `python -m pdpp_ref` runs."""

import email.message
import email.parser
import importlib.metadata
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import pdpp_ref

ROOT = Path(__file__).parents[2]
NAME = f"pdpp_ref-{pdpp_ref.__version__}"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source archive."""
    folder = tmp_path_factory.mktemp("built")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> set[str]:
    with zipfile.ZipFile(built / f"{NAME}-py3-none-any.whl") as file:
        return set(file.namelist())


@pytest.fixture(scope="module")
def source(built: Path) -> set[str]:
    with tarfile.open(built / f"{NAME}.tar.gz") as file:
        return {name.removeprefix(f"{NAME}/") for name in file.getnames()}


@pytest.fixture(scope="module")
def metadata(built: Path) -> email.message.Message:
    with zipfile.ZipFile(built / f"{NAME}-py3-none-any.whl") as file:
        return email.parser.Parser().parsestr(file.read(f"{NAME}.dist-info/METADATA").decode())


def files(folder: str) -> set[str]:
    found = (path for path in (ROOT / folder).rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in found if "__pycache__" not in path.parts}


def test_the_wheel_has_the_package_its_types_and_the_files_of_the_pages(wheel: set[str]) -> None:
    assert "pdpp_ref/py.typed" in wheel
    inside = {f"pdpp_ref/{name}" for name in files("templates") | files("static")}
    assert files("pdpp_ref") | inside == {name for name in wheel if name.startswith("pdpp_ref/")}
    assert {name.split("/")[0] for name in wheel} == {"pdpp_ref", f"{NAME}.dist-info"}


def test_the_source_archive_has_what_make_needs_and_no_data(source: set[str]) -> None:
    assert {"Makefile", "app.py", ".ci/requirements.txt", ".ci/requirements-test.txt"} <= source
    assert files("docs") | files("templates") | files("static") <= source
    assert not [name for name in source if name.split("/")[0] in ("instance", ".venv", ".git")]


def test_there_is_one_version(metadata: email.message.Message) -> None:
    assert metadata["Version"] == pdpp_ref.__version__ == importlib.metadata.version("pdpp-ref")
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"^## (\S+)", changes, re.MULTILINE)[0] == pdpp_ref.__version__


def test_the_description_says_what_it_is_for(metadata: email.message.Message) -> None:
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "Typing :: Typed" in metadata.get_all("Classifier")
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (ROOT / "README.md").read_text()


def test_images_of_the_readme_are_in_the_source_archive(source: set[str]) -> None:
    readme = (ROOT / "README.md").read_text()
    images = re.findall(r"!\[([^]]*)\]\(([^)]+)\)", readme)
    assert images
    for text, place in images:
        assert place in source
        assert len(text) > 30, "a place that can't show images shows this instead"


def test_the_package_can_be_run() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pdpp_ref", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"pdpp-ref, version {pdpp_ref.__version__}\n"
