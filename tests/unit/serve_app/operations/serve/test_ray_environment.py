import os
import subprocess
import sys

from serve_app.operations.serve import ray_environment

_LEAVING = """
import ray
from ray._private import auto_init_hook

auto_init_hook.auto_init_ray()
print(ray.is_initialized())
"""


def test_a_driver_that_leaves_is_not_connected_anew() -> None:
    """Serve calls an actor whenever it has something to tell a handle, also while ray.shutdown()
    is under way; the two would wait for each other."""
    env = {**os.environ, **ray_environment.of_driver()}
    run = subprocess.run(
        [sys.executable, "-c", _LEAVING], env=env, capture_output=True, text=True, timeout=60
    )
    assert run.stdout.strip() == "False", run.stderr
