"""Documents name only what exists: files, sections of other documents, and test modules."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = {
    str(path.relative_to(ROOT)): path
    for pattern in ("*.md", "docs/**/*.md", "openspec/README.md", "openspec/specs/**/*.md")
    for path in sorted(ROOT.glob(pattern))
}
LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)")
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
TEST_MODULES = {path.name for path in ROOT.glob("tests/*/test_*.py")}


def anchors(document: Path) -> set[str]:
    """The names that GitHub gives to its headings."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_link_leads_somewhere(name: str) -> None:
    document = DOCUMENTS[name]
    for path, anchor in LINK.findall(CODE.sub("", document.read_text())):
        target = document.parent / path if path else document
        assert target.exists(), path
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{path}#{anchor}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_test_module_that_is_named_exists(name: str) -> None:
    assert set(re.findall(r"\btest_\w+\.py\b", DOCUMENTS[name].read_text())) <= TEST_MODULES
