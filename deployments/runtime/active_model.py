"""The model that the memories are embedded with, for callers that send embeddings to the store. It
repeats a call if memories are moved to another model meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from deployments.domain.embeddings import Embeddings, ModelIdentity, TextKind
from deployments.domain.errors import GenerationRetired, ModelMismatch, Unavailable
from deployments.domain.ports.embedding import Embedder
from deployments.domain.ports.store import Generations

_ATTEMPTS = 5
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Embedded:
    """Embedded texts for the store. `embeddings` is `(N, D) float32`, of this generation."""

    embeddings: Embeddings
    generation: int
    is_first_call: bool
    """False if the store has been called before, with embeddings of a model that has been retired
    since."""


@dataclass(frozen=True, slots=True)
class _Model:
    identity: ModelIdentity
    generation: int


class ActiveModel:
    """The model in use, and its generation. Use it in one event loop only."""

    def __init__(self, embedder: Embedder, generations: Generations) -> None:
        self._embedder = embedder
        self._generations = generations
        self._model: _Model | None = None
        self._adopt_lock = asyncio.Lock()

    async def adopt(self) -> None:
        """Record the embedder's model in the database, or adopt the model that memories were moved
        to, if it is served as well. Raises ModelMismatch, Unavailable."""
        await self._current()

    async def ping(self) -> None:
        """Raises Unavailable if the model does not answer."""
        if self._model is None:
            await self._embedder.identity()
        elif not await self._embedder.has(self._model.identity):
            raise Unavailable("embedder")

    async def with_embeddings(
        self,
        texts: Sequence[str],
        kind: TextKind,
        call: Callable[[Embedded], Awaitable[_T]],
    ) -> _T:
        """Embed the texts, pass them to `call`, which calls the store, and return its result. If
        the memories are moved to another model meanwhile, both are repeated with that model, up to
        5 attempts in all. Raises Unavailable."""
        is_first_call = True
        for _ in range(_ATTEMPTS):
            model = await self._current()
            try:
                embeddings = await self._embedder.embed(texts, kind, model.identity)
                embedded = Embedded(embeddings, model.generation, is_first_call)
                is_first_call = False
                return await call(embedded)
            except GenerationRetired:
                if self._model is model:  # else another call has adopted the next model already
                    self._model = None
        raise Unavailable("embedder")

    async def _current(self) -> _Model:
        if self._model is None:
            async with self._adopt_lock:
                if self._model is None:
                    self._model = await self._adopt()
                return self._model
        return self._model

    async def _adopt(self) -> _Model:
        identity = await self._embedder.identity()
        try:
            return _Model(identity, await self._generations.adopt_generation(identity))
        except ModelMismatch as mismatch:
            active = mismatch.active
            if active is None or not await self._embedder.has(active):
                raise
            return _Model(active, await self._generations.adopt_generation(active))
