import os
import subprocess
import sys

from serve_app.operations.serve import ray_environment

_SCRIPT = """
import ray
from ray._private import auto_init_hook

auto_init_hook.auto_init_ray()
print(ray.is_initialized())
"""


def test_driver_does_not_reconnect_after_shutdown() -> None:
    """Serve calls an actor whenever it updates a handle, also during ray.shutdown(). If that call
    connected again, the two would wait for each other."""
    env = {**os.environ, **ray_environment.of_driver()}
    run = subprocess.run(
        [sys.executable, "-c", _SCRIPT], env=env, capture_output=True, text=True, timeout=60
    )
    assert run.stdout.strip() == "False", run.stderr
