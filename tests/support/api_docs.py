"""Runs every curl of docs/api.md and README.md against a server with sample data, and updates their
output there.

`python -m tests.support.api_docs`
"""

import re
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from pdpp_ref.blueprints.errors import ERRORS
from tests.support.factories import PASSWORD, TOKEN
from tests.support.server_process import Server

ROOT = Path(__file__).parents[2]
ADDRESS = "http://127.0.0.1:7663"
MARK = "--- the next command"
BLOCK = re.compile(r"```console\n((?:(?!```).)*?(?:curl|AUTH=).*?)```", re.S)
TABLE = re.compile(r"(\| status \| code \| means \|\n\|---\|---\|---\|\n).*", re.S)


def written(text: str, folder: Path, server: Server) -> str:
    """The text, each of its commands followed by what it prints now, and the table of errors."""
    typed = [command for block in BLOCK.findall(text) for command in commands(block)]
    printed = iter(outputs(typed, folder, server))

    def filled(block: re.Match[str]) -> str:
        return "```console\n" + "".join(f"$ {line}\n{next(printed)}" for line in commands(block[1])) + "```"

    return TABLE.sub(lambda table: table[1] + error_table(), BLOCK.sub(filled, text))


def commands(block: str) -> list[str]:
    return [line[2:] for line in block.splitlines() if line[:2] == "$ "]


def outputs(typed: list[str], folder: Path, server: Server) -> list[str]:
    """What each command prints, all in one shell."""
    script = "".join(f"{command}\necho; echo '{MARK}'\n" for command in typed)
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PDPP_OPERATOR_TOKEN": TOKEN,
        "PDPP_OWNER_PASSWORD": PASSWORD,
    }
    script = script.replace(ADDRESS, server.url)
    done = subprocess.run(
        ["bash"], input=script, cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    parts = done.stdout.replace("\r", "").split(f"{MARK}\n")[:-1]
    return [f"{output.rstrip()}\n".lstrip("\n") for output in parts]


def error_table() -> str:
    return "".join(f"| {status} | `{code}` | {about} |\n" for code, (status, about) in ERRORS.items())


def main() -> None:
    shown = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith('{"type"')]
    for name in ("README.md", "docs/api.md"):
        file = ROOT / name
        with TemporaryDirectory() as place, Server(Path(place) / "server", "demo") as server:
            folder = Path(place)
            (folder / "records.jsonl").write_text("".join(f"{line}\n" for line in shown))
            file.write_text(written(file.read_text(), folder, server))


if __name__ == "__main__":
    main()
