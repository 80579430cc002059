"""How a process ends itself."""

import subprocess
import sys

_SCRIPT = """
import atexit
import sys
from serve_app.operations.machine.processes import leave

atexit.register(print, "registered")
sys.stdout.write("text")
leave(3)
"""


def test_leave_flushes_output_and_skips_exit_handlers() -> None:
    result = subprocess.run([sys.executable, "-E", "-c", _SCRIPT], capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (3, "text", "")


def test_leave_ignores_a_closed_pipe() -> None:
    with subprocess.Popen(
        [sys.executable, "-E", "-c", f"input(){_SCRIPT}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.wait(30) == 3
