"""A bare Flask application: one route, a dict of BARE_BYTES bytes of JSON."""

import json
import os

from flask import Flask

app = Flask(__name__)


def filled(size: int) -> dict[str, str]:
    """A dict whose compact JSON has so many bytes, from 30 on."""
    fields = {f"field_{number:04}": "x" * 20 for number in range(max(size - 30, 0) // 36)}
    left = size - len(json.dumps({**fields, "filler": ""}, separators=(",", ":")))
    return {**fields, "filler": "x" * left}


BODY = filled(int(os.environ.get("BARE_BYTES", "753")))


@app.get("/")
def only() -> dict[str, str]:
    return BODY
