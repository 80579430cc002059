"""Which model embeds, for whoever calls the store with embeddings, and what becomes of a call when
memories are moved to another one meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from deployments.domain.errors import GenerationRetired, ModelMismatch, Unavailable
from deployments.domain.ports import Embedder
from deployments.domain.types import Embeddings, ModelIdentity, TextKind

_MODELS_TRIED = 5
_T = TypeVar("_T")


class Generations(Protocol):
    """What of a store is needed here."""

    async def adopt_generation(self, identity: ModelIdentity) -> int:
        """As of MemoryStore."""
        ...


@dataclass(frozen=True, slots=True)
class _Model:
    identity: ModelIdentity
    generation: int


class ModelInUse:
    """The model that the memories are embedded with, and its generation."""

    def __init__(self, embedder: Embedder, store: Generations) -> None:
        self._embedder = embedder
        self._store = store
        self._model: _Model | None = None
        self._adopting = asyncio.Lock()

    async def adopt(self) -> None:
        """Have the embedder's model recorded in the database, or take the one that memories were
        moved to, where it answers beside the graph's own. Raises ModelMismatch, Unavailable."""
        await self._adopted()

    async def answers(self) -> None:
        """Raises Unavailable where it does not."""
        if self._model is None:
            await self._embedder.identity()
        elif not await self._embedder.has(self._model.identity):
            raise Unavailable("embedder")

    async def with_embeddings(
        self,
        texts: Sequence[str],
        kind: TextKind,
        call: Callable[[Embeddings, int], Awaitable[_T]],
    ) -> _T:
        """What `call` to the store returns, given the texts' rows and their generation. Where
        memories have been moved to another model meanwhile, all of it is made again with that
        one."""
        for _ in range(_MODELS_TRIED):
            model = await self._adopted()
            try:
                embeddings = await self._embedder.embed(texts, kind, model.identity)
                return await call(embeddings, model.generation)
            except GenerationRetired:
                if self._model is model:  # another call may have taken the next one already
                    self._model = None
        raise Unavailable("embedder")

    async def _adopted(self) -> _Model:
        if self._model is None:
            async with self._adopting:
                if self._model is None:
                    self._model = await self._adopt()
                return self._model
        return self._model

    async def _adopt(self) -> _Model:
        identity = await self._embedder.identity()
        try:
            return _Model(identity, await self._store.adopt_generation(identity))
        except ModelMismatch as mismatch:
            active = mismatch.active
            if active is None or not await self._embedder.has(active):
                raise
            return _Model(active, await self._store.adopt_generation(active))
