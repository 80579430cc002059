"""Whether a deployment's handle has anywhere to send a call to."""

import asyncio
import contextlib

from ray.serve.handle import DeploymentHandle

_LOOK_EVERY_S = 0.02


async def wait_for_one(handle: DeploymentHandle, patience_s: float) -> None:
    """Until `handle` knows of a replica, for `patience_s` at most.

    A call made before goes to Serve's autoscaler at once, where it counts as if it went on for ten
    seconds: two ingresses that ask the embedder which model it has would have a second one started.
    """
    handle.options()  # from here on it is told of replicas
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience_s):
            while not handle.running_replicas_populated():  # noqa: ASYNC110  # no event tells it
                await asyncio.sleep(_LOOK_EVERY_S)
