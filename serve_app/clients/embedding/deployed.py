"""Finds embedders in applications of their own, each of which is named after its model."""

import asyncio
import hashlib

from ray import serve
from ray.serve.exceptions import RayServeException

from deployments.domain.embeddings import ModelIdentity
from serve_app.clients.embedding.remote import RemoteEmbedder

PREFIX = "memex-embedder-"
_DEPLOYMENT = "Embedder"


def application_of(identity: ModelIdentity) -> str:
    """The name of the model's application."""
    return PREFIX + hashlib.sha256(repr(identity).encode()).hexdigest()[:12]


async def find(identity: ModelIdentity, timeout_s: float) -> RemoteEmbedder | None:
    """The embedder in the model's application; None if that is not deployed."""
    application = application_of(identity)
    try:
        handle = await asyncio.to_thread(serve.get_deployment_handle, _DEPLOYMENT, application)
    except RayServeException:
        return None
    return RemoteEmbedder(handle, timeout_s)
