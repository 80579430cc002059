"""How this process ends itself."""

import subprocess
import sys

_LEAVES = """
import atexit
import sys
from serve_app.operations.machine.processes import leave

atexit.register(print, "registered")
sys.stdout.write("said")
leave(3)
"""


def test_who_leaves_says_all_and_does_no_more() -> None:
    left = subprocess.run([sys.executable, "-E", "-c", _LEAVES], capture_output=True, text=True)
    assert (left.returncode, left.stdout, left.stderr) == (3, "said", "")


def test_who_leaves_minds_no_closed_pipe() -> None:
    with subprocess.Popen(
        [sys.executable, "-E", "-c", f"input(){_LEAVES}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.wait(30) == 3
