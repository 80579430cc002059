"""Waits for a deployment's first replica."""

import asyncio
import contextlib

from ray.serve.handle import DeploymentHandle

_POLL_INTERVAL_S = 0.02


async def wait_for_replica(handle: DeploymentHandle, timeout_s: float) -> None:
    """Wait until `handle` knows a replica, for at most `timeout_s`. Raises nothing if none appears.

    Serve reports a call before that to its autoscaler at once, which counts it as if it lasted ten
    seconds: two ingresses that ask the embedder for its model would start a second embedder.
    """
    handle.options()  # from now on Serve updates the handle's replicas
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while not handle.running_replicas_populated():  # noqa: ASYNC110  # no event exists
                await asyncio.sleep(_POLL_INTERVAL_S)
