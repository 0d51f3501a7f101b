"""Settings: declared once, documented, checked at startup, and reported if they are misspelled."""

import re
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from pdpp_ref import config, notices
from pdpp_ref.config import Choice, Flag, InvalidSetting, Names, Number, Settings, Text

ROOT = Path(__file__).parents[2]
DECLARED = {each.variable: each for each in config.declarations()}
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*")),
    *sorted((ROOT / "pdpp_ref").rglob("*.py")),
]


@pytest.fixture(autouse=True)
def _every_notice() -> None:
    notices.show_once.cache_clear()


class TestDocumentation:
    def test_the_table_in_the_readme_has_every_setting_and_no_other(self) -> None:
        readme = (ROOT / "README.md").read_text()
        documented = re.findall(r"^\| `(PDPP_\w+)` \| (.+) \| (.+) \| (.+) \|$", readme, re.MULTILINE)
        assert documented == [
            (each.variable, each.kind.values, each.default, each.meaning) for each in DECLARED.values()
        ]

    @pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
    def test_no_document_names_a_variable_that_does_not_exist(self, document: Path) -> None:
        if document.is_file() and document.suffix != ".png":
            named = set(re.findall(r"\bPDPP_[A-Z_]+[A-Z]\b", document.read_text()))
            own = {name for name in named if not name.startswith(config.TEST_PREFIX)}
            assert own - {"PDPP_SESSION_COOKIE_NAME", "PDPP_TEST"} <= set(DECLARED)

    def test_flasks_own_settings_are_known(self) -> None:
        assert set(Flask.default_config) == config.FLASK_SETTINGS


class TestValues:
    @pytest.mark.parametrize(
        ("kind", "text", "value"),
        [
            (Text(), "007", "007"),
            (Number(1, 10), "10", 10),
            (Names(), " a, ,b.example", ("a", "b.example")),
            (Choice(("info", "error")), "Error", "error"),
            (Flag(), "True", True),
            (Flag(), "0", False),
        ],
    )
    def test_a_value_is_read_as_its_kind(self, kind: config.Kind, text: str, value: Any) -> None:
        assert kind.parse(text) == value

    @pytest.mark.parametrize(
        "variable", [name for name, each in DECLARED.items() if not isinstance(each.kind, Text | Names)]
    )
    @pytest.mark.parametrize("value", ["nonsense", "-1", "2.5", "9" * 20])
    def test_an_invalid_value_is_refused_with_the_name_of_its_variable(
        self, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
    ) -> None:
        monkeypatch.setenv(variable, value)
        with pytest.raises(InvalidSetting, match=rf"^{variable} must be .+, not '{value}'$"):
            Settings.load()

    def test_an_empty_variable_means_the_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in DECLARED:
            monkeypatch.setenv(name, "")
        assert Settings.load() == Settings()

    def test_overrides_take_precedence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PDPP_TRUSTED_PROXIES", "1")
        assert Settings.load().trusted_proxies == 1
        assert Settings.load({"TRUSTED_PROXIES": 2, "SAMPLE_DATA": True}).trusted_proxies == 2
        assert Settings.load({"TRUSTED_PROXIES": ""}).trusted_proxies == 0

    def test_no_secret_is_printed_with_the_settings(self) -> None:
        names = ("owner_password", "operator_token", "secret_key", "database_url", "copy_to")
        assert "hidden" not in repr(Settings(**dict.fromkeys(names, "hidden")))


class TestUnknownVariables:
    @pytest.mark.parametrize(
        ("name", "closest"),
        [
            ("PDPP_DATABSE_URL", "PDPP_DATABASE_URL"),
            ("PDPP_OPERATOR_TOKENS", "PDPP_OPERATOR_TOKEN"),
            ("PDPP_trusted_hosts", "PDPP_TRUSTED_HOSTS"),
        ],
    )
    def test_a_misspelled_name_is_reported_without_its_value(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, closest: str
    ) -> None:
        monkeypatch.setenv(name, "a secret")
        Settings.load()
        Settings.load()
        assert caplog.messages == [f"{name} is not a setting; the closest one is {closest}"]

    def test_a_name_is_reported_on_one_line(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("PDPP_\x1b[2J\n", "x")
        Settings.load()
        assert [message.isprintable() for message in caplog.messages] == [True]

    @pytest.mark.parametrize(
        "name", [*DECLARED, "PDPP_SESSION_COOKIE_NAME", "PDPP_TEST_LONG", "PDPPX", "HOME"]
    )
    def test_other_names_are_not(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
    ) -> None:
        monkeypatch.setenv(name, "")
        Settings.load()
        assert caplog.messages == []
