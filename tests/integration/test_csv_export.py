"""Figures as CSV and as files."""

import csv
import io
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from pdpp_ref.blueprints import csv_export
from pdpp_ref.schemas.dataset import SIZE_ROWS
from tests.support.factories import TOKEN, DatabaseProbe, fill, mark, upsert, write

BEARER = {"Authorization": f"Bearer {TOKEN}"}

# What any sender can call a stream; none of it may run in a spreadsheet.
NAMES = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "'quoted",
    "a,b",
    'a "quoted" b',
    "two\nlines",
    "two\r\nlines",
    "naïve 😀",
    " ",
    "plain",
]


@pytest.fixture
def operator(app: Flask) -> FlaskClient:
    found = app.test_client()
    found.environ_base["HTTP_AUTHORIZATION"] = BEARER["Authorization"]
    return found


def table(operator: FlaskClient, path: str) -> tuple[list[dict[str, str]], Any]:
    response = operator.get(f"/_ref/dataset/{path}")
    assert response.status_code == 200
    assert response.content_type == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(response.data.decode(), newline=""), strict=True)), response


def test_every_name_and_figure_comes_back(operator: FlaskClient) -> None:
    for name in NAMES:
        fill(2, stream=name, connection=f"of {name}")
    rows, _ = table(operator, "size?grain=stream&format=csv")
    body = operator.get("/_ref/dataset/size?grain=stream").get_json()
    assert len(rows) == len(NAMES)
    for row, shown in zip(rows, body["rows"], strict=True):
        assert list(row) == list(shown)
        for name, cell in row.items():
            value = shown[name]
            if isinstance(value, bool):
                assert cell == ("true" if value else "false")
            elif isinstance(value, str):
                assert cell.removeprefix("'") == value
            else:
                assert int(cell) == value


def test_no_cell_begins_as_a_formula_does(operator: FlaskClient) -> None:
    for name in NAMES:
        write(upsert("a", stream=name), connection=name, connector=name)
    for path in ("size?grain=stream&format=csv", "top?scope=stream&limit=25&format=csv"):
        rows, response = table(operator, path)
        assert len(rows) == len(NAMES)
        cells = [cell for row in rows for cell in row.values()]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))]
        assert {row["stream"].removeprefix("'") for row in rows} == set(NAMES)
        assert response.data.replace(b"\r\n", b"").count(b"\n,") == 0


def test_each_row_reports_its_time_and_whether_it_may_lag(
    operator: FlaskClient, probe: DatabaseProbe
) -> None:
    fill(2)
    fill(2, connection="phone")
    mark("laptop", "notes")
    probe.fail_reconcile()
    rows, _ = table(operator, "size?grain=connection&format=csv")
    assert [(row["connector_instance_id"], row["dirty"]) for row in rows] == [
        ("laptop", "true"),
        ("phone", "false"),
    ]
    assert all(row["computed_at"].endswith("Z") for row in rows)


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("path", ["size?grain=stream", "size?grain=connection", "top?scope=blob"])
def test_no_rows_still_have_a_header(operator: FlaskClient, path: str) -> None:
    text = operator.get(f"/_ref/dataset/{path}&format=csv").text
    assert text.endswith("\r\n")
    assert text.count("\n") == 1
    assert text.startswith(("grain,connector_id,connector_instance_id,", "scope,measure,rank,"))


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("size?format=csv", "retained-size-global-{}.csv"),
        ("size?grain=stream&format=csv", "retained-size-stream-{}.csv"),
        ("size?grain=stream&download=1", "retained-size-stream-{}.json"),
        ("top?scope=stream&measure=record_count&format=csv", "retained-top-stream-by-record_count-{}.csv"),
        ("top?download=true", "retained-top-connection-by-total_retained_bytes-{}.json"),
    ],
)
def test_a_file_is_named_for_what_it_holds_and_its_time(
    operator: FlaskClient, path: str, name: str
) -> None:
    fill(1)
    as_of = operator.get("/_ref/dataset/summary").get_json()["projection"]["computed_at"]
    moment = as_of[:19].replace(":", "-") + "Z"
    disposition = operator.get(f"/_ref/dataset/{path}").headers["Content-Disposition"]
    assert disposition == f'attachment; filename="{name.format(moment)}"'


def test_json_is_shown_where_nothing_else_is_asked_for(operator: FlaskClient) -> None:
    for path in ("size", "size?format=json", "size?download=0", "top"):
        response = operator.get(f"/_ref/dataset/{path}")
        assert response.mimetype == "application/json"
        assert "Content-Disposition" not in response.headers


def test_figures_that_were_never_counted_have_no_time_in_the_name() -> None:
    assert csv_export.file_name("size-global", None, "csv") == "retained-size-global-never-counted.csv"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("format=xml", "format must be one of csv, json."),
        ("download=maybe", "download must be true or false."),
    ],
)
def test_another_format_is_reported(operator: FlaskClient, query: str, message: str) -> None:
    for route in ("size", "top"):
        response = operator.get(f"/_ref/dataset/{route}?{query}")
        assert response.status_code == 400
        assert response.get_json()["error"]["message"] == message


def test_the_columns_are_the_fields_of_the_row() -> None:
    row = SIZE_ROWS["stream"]
    assert csv_export.columns(row)[:4] == ["grain", "connector_id", "connector_instance_id", "stream"]
    assert csv_export.columns(row)[-3:] == ["total_retained_bytes", "dirty", "computed_at"]
