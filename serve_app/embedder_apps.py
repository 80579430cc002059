"""Applications that have an Embedder alone, of a model beside the graph's own: named by the model,
so that whoever knows it finds them."""

import asyncio
import hashlib

from ray import serve
from ray.serve.exceptions import RayServeException

from deployments.domain.types import ModelIdentity
from serve_app.clients.embedder import RemoteEmbedder

PREFIX = "memex-embedder-"
_DEPLOYMENT = "Embedder"


def app_of(identity: ModelIdentity) -> str:
    """The application's name."""
    return PREFIX + hashlib.sha256(repr(identity).encode()).hexdigest()[:12]


async def find(identity: ModelIdentity, timeout_s: float) -> RemoteEmbedder | None:
    """None where no such application is deployed."""
    try:
        handle = await asyncio.to_thread(serve.get_deployment_handle, _DEPLOYMENT, app_of(identity))
    except RayServeException:
        return None
    return RemoteEmbedder(handle, timeout_s)
