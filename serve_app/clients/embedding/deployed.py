"""Embedders that are served beside the graph's own, each in an application named by its model, so
that whoever knows the model finds it."""

import asyncio
import hashlib

from ray import serve
from ray.serve.exceptions import RayServeException

from deployments.domain.embeddings import ModelIdentity
from serve_app.clients.embedding.remote import RemoteEmbedder

PREFIX = "memex-embedder-"
_DEPLOYMENT = "Embedder"


def application_of(identity: ModelIdentity) -> str:
    """The application's name."""
    return PREFIX + hashlib.sha256(repr(identity).encode()).hexdigest()[:12]


async def find(identity: ModelIdentity, timeout_s: float) -> RemoteEmbedder | None:
    """None if no such application is deployed."""
    application = application_of(identity)
    try:
        handle = await asyncio.to_thread(serve.get_deployment_handle, _DEPLOYMENT, application)
    except RayServeException:
        return None
    return RemoteEmbedder(handle, timeout_s)
