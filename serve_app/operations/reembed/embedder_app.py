"""Joins a running service's Ray cluster and deploys an Embedder of another model there.

Ray reads its flags from the environment when it is imported, so `ray` is imported only after
`joined` has set them.
"""

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Iterator

from deployments.domain.embeddings import ModelIdentity
from deployments.domain.errors import AlreadyRunning, ReembeddingFailed
from deployments.domain.ports.embedding import BatchedEmbedder
from deployments.embedder.settings import EmbeddingSettings
from serve_app.operations.machine.data_folder import DataFolder
from serve_app.operations.serve import ray_environment
from serve_app.operations.serve.cluster import last_line, quiet
from serve_app.settings import Settings

_GRAPH = "memex"
_RAY_ADDRESS = "RAY_ADDRESS"
_READY_TIMEOUT_S = 300.0
_CALL_TIMEOUT_S = 60.0  # the replicas have other work, too


def address(settings: Settings) -> str | None:
    """The address of the service's Ray cluster: that of this machine's `memex serve`, otherwise
    RAY_ADDRESS, otherwise None.

    Raises ReembeddingFailed if the data folder is in use without an address, as while memex starts.
    """
    folder = DataFolder(settings.data_dir)
    if folder.is_ours():
        try:
            folder.open()
        except AlreadyRunning:
            if not folder.ray_address.exists():
                raise ReembeddingFailed(
                    "memex is starting, stopping, or restoring: try again in a moment"
                ) from None
            return folder.ray_address.read_text(encoding="utf-8")
        folder.close()
    return os.environ.get(_RAY_ADDRESS)


@contextlib.contextmanager
def joined(settings: Settings, cluster: str) -> Iterator[None]:
    """Make this process a driver of the cluster for the block. Raises ReembeddingFailed."""
    folder = DataFolder(settings.data_dir)
    os.environ.update(ray_environment.of_driver())
    if folder.ray_token.exists():
        os.environ.update(ray_environment.of_token(folder.ray_token))
    import ray
    from ray import serve

    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with quiet():
            ray.init(
                address=cluster, namespace="memex", log_to_driver=False, configure_logging=False
            )
            applications = serve.status().applications
    except Exception as error:  # whatever class Ray wraps it in
        raise ReembeddingFailed(
            f"the Ray cluster at {cluster} cannot be joined: {last_line(str(error))}"
        ) from error
    for number, handler in handlers.items():
        signal.signal(number, handler)  # ray.init has replaced them
    try:
        if _GRAPH not in applications:
            raise ReembeddingFailed(f"the Ray cluster at {cluster} has no application {_GRAPH}")
        yield
    finally:
        with quiet():
            ray.shutdown()


async def bring_up(
    settings: Settings, embedding: EmbeddingSettings, identity: ModelIdentity
) -> BatchedEmbedder:
    """The embedder of that model, deployed in its own application if it does not exist yet.

    Raises ReembeddingFailed if it does not start.
    """
    from ray import serve

    from serve_app.clients.embedding.deployed import application_of
    from serve_app.clients.embedding.remote import RemoteEmbedder

    name = application_of(identity)
    await asyncio.to_thread(_deploy, settings, embedding, name)
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while True:
        status = (await asyncio.to_thread(serve.status)).applications[name]
        if status.status == "RUNNING":
            break
        if status.status == "DEPLOY_FAILED":
            raise ReembeddingFailed(
                f"the new model's embedder does not start: {last_line(status.message)}"
            )
        if time.monotonic() > deadline:
            raise ReembeddingFailed(
                f"the new model's embedder was not ready after {_READY_TIMEOUT_S:.0f} s: the "
                "cluster may lack CPUs for it (see the Ray dashboard)"
            )
        await asyncio.sleep(0.2)
    return RemoteEmbedder(serve.get_deployment_handle("Embedder", name), _CALL_TIMEOUT_S)


def _deploy(settings: Settings, embedding: EmbeddingSettings, name: str) -> None:
    from ray.serve.api import _run

    from serve_app.app import build_embedder_app

    with quiet():
        _run(build_embedder_app(settings, embedding), name=name, route_prefix=None, _blocking=False)


def take_down(*, keep: set[ModelIdentity]) -> None:
    """Delete the re-embedding applications of all models but `keep`; the graph's Embedder stays."""
    from ray import serve

    from serve_app.clients.embedding.deployed import PREFIX, application_of

    kept_names = {application_of(identity) for identity in keep}
    with quiet():
        for name in serve.status().applications:
            if name.startswith(PREFIX) and name not in kept_names:
                serve.delete(name, _blocking=False)
