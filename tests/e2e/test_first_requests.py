"""The first requests of a server, several at once."""

import subprocess
import sys

# Each kind of parameters is new, as every kind is to a server that has just started.
RACE = """
import sys, threading
from typing import Annotated, Literal

import msgspec
from pdpp_ref.blueprints.openapi.decorator import operation

sys.setswitchinterval(1e-6)
choice = Annotated[Literal["a", "b"] | None, msgspec.Meta(description="one of two")]
for number in range(100):
    kind = msgspec.defstruct(f"Query{number}", [(f"f{field}", choice, None) for field in range(30)])
    operation("about", "nothing", query=kind)
    barrier = threading.Barrier(4)

    def parse():
        barrier.wait()
        msgspec.convert({"f29": "a"}, kind, strict=False)

    threads = [threading.Thread(target=parse) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_requests_that_are_the_first_of_their_kind_do_not_crash_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", RACE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
