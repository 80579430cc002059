"""Random sequences of operations leave the Postgres store and the in-memory store in the same
state."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployments.domain.errors import NotASummary, Superseded
from deployments.domain.memories import (
    Expiry,
    ListFilters,
    Memory,
    MemoryPatch,
    MemoryType,
    NewMemory,
)
from deployments.domain.search import SearchQuery
from deployments.runtime.ids import uuid7
from deployments.store.store import PostgresStore
from deployments.summariser.settings import SummarizationSettings
from tests.support.fakes.embedder import IDENTITY, embed_words
from tests.support.fakes.store import InMemoryStore, in_memory_store
from tests.support.summaries import passes_over

SETTINGS = SummarizationSettings(threshold=3, batch_size=3)
START = datetime(2025, 1, 1, tzinfo=UTC)
USERS = ("ana", "ben")
WORDS = ("tea", "milk", "house", "garden", "train", "river", "lamp", "stone")
Store = PostgresStore | InMemoryStore


@dataclass(frozen=True)
class Step:
    """One operation. `pick` chooses among the existing memories, superseded ones included."""

    kind: str
    pick: int
    user: str
    words: tuple[str, ...]
    memory_type: MemoryType


steps = st.builds(
    Step,
    st.sampled_from(
        ("store", "store", "store", "patch", "retype", "delete", "expire", "summarise", "restore",
         "forget", "move")
    ),
    st.integers(0, 1_000),
    st.sampled_from(USERS),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(tuple),
    st.sampled_from((MemoryType.EPISODIC, MemoryType.EPISODIC, MemoryType.SEMANTIC)),
)  # fmt: skip


class World:
    """One store and the operations on it. Summaries have other ids in each store, so that they are
    compared by content."""

    def __init__(self, store: Store, agent: str) -> None:
        self.store, self.agent = store, agent
        self.passes = passes_over(store, SETTINGS)

    async def all_memories(self) -> list[Memory]:
        page = await self.store.memories.list_page(
            self.agent, None, page_size=200, filters=ListFilters(include_superseded=True)
        )
        return sorted(page.memories, key=lambda memory: (memory.created_at, memory.content))

    async def do(self, step: Step, number: int, new_id: uuid.UUID) -> object:
        memories = await self.all_memories()
        chosen = memories[step.pick % len(memories)] if memories else None
        try:
            return await self._do(step, number, new_id, chosen)
        except (Superseded, NotASummary) as error:
            return type(error)

    async def _do(
        self, step: Step, number: int, new_id: uuid.UUID, chosen: Memory | None
    ) -> object:
        content = f"{' '.join(step.words)} of step{number}"
        if step.kind == "store":
            created = START + timedelta(minutes=number)
            memory = NewMemory(
                new_id, self.agent, step.user, content, memory_type=step.memory_type,
                metadata={"n": number % 3}, created_at=created,
            )  # fmt: skip
            await self.store.inserts.insert([memory], embed_words(content)[None], 1, None)
        elif step.kind == "summarise":
            report = await self.passes.run(self.agent)
            return report.summaries, report.memories, report.failed
        elif step.kind == "move":
            return await self._move()
        elif step.kind == "forget":
            return await self.store.memories.forget(self.agent, step.user)
        elif chosen is None:
            return None
        elif step.kind == "patch":
            patch = MemoryPatch(content=content)
            vector = embed_words(content)
            await self.store.memories.update(self.agent, chosen.id, patch, vector, 1, None)
        elif step.kind == "retype":
            patch = MemoryPatch(memory_type=step.memory_type, importance=step.pick % 3)
            await self.store.memories.update(self.agent, chosen.id, patch, None, None, None)
        elif step.kind == "expire":
            patch = MemoryPatch(expiry=Expiry(datetime.now(UTC)))
            await self.store.memories.update(self.agent, chosen.id, patch, None, None, None)
        elif step.kind == "delete":
            return await self.store.memories.delete(self.agent, chosen.id)
        elif step.kind == "restore":
            restored = await self.store.summaries.restore(self.agent, chosen.id)
            return [memory.content for memory in restored or []]
        return None

    async def _move(self) -> list[str]:
        """Export all memories, forget them, and import them."""
        copies = [
            NewMemory(
                m.id, m.agent_id, m.user_id, m.content, m.importance, m.memory_type, m.metadata,
                m.created_at, m.expires_at, m.updated_at, m.superseded_by,
            )
            async for page in self.store.transfers.export(self.agent, None)
            for m in page.memories
        ]  # fmt: skip
        for user in USERS:
            await self.store.memories.forget(self.agent, user)
        if not copies:
            return []
        embeddings = np.stack([embed_words(copy.content) for copy in copies])
        outcomes = await self.store.transfers.insert_missing(copies, embeddings, 1, None)
        return list(map(str, outcomes))

    async def past(self, times: Sequence[datetime]) -> object:
        """What a search as of each of the times finds, for each user."""
        if isinstance(self.store, PostgresStore):
            await self.store.upkeep.purge_expired()
        found = []
        for time in times:
            for user in USERS:
                query = SearchQuery(self.agent, user, "tea", 50, as_of=time)
                hits = await self.store.searches.search(query, embed_words("tea"), 1, None)
                assert len(hits) < 50
                states = [(m.content, m.memory_type, m.importance, m.metadata) for m in hits]
                found.append(sorted(states, key=str))
        return found

    async def state(self) -> object:
        """What clients can read by any call, without the values that each store generates."""
        memories = await self.all_memories()
        contents = {memory.id: memory.content for memory in memories}
        comparable = [comparable_memory(memory, contents) for memory in memories]
        visible = (await self.store.memories.list_page(self.agent, None, page_size=200)).memories
        by_user = [
            [
                m.content
                for m in (
                    await self.store.memories.list_page(self.agent, u, page_size=200)
                ).memories
            ]
            for u in USERS
        ]
        counts = [
            await self.store.memories.count(self.agent, user, include_superseded)
            for user in (None, *USERS)
            for include_superseded in (False, True)
        ]
        sources = [
            [
                source.content
                for source in await self.store.summaries.sources(self.agent, memory.id) or []
            ]
            for memory in memories
        ]
        versions = [
            [
                version.content
                for version in await self.store.memories.history(self.agent, m.id, None, 9) or []
            ]
            for m in memories
        ]
        return comparable, [m.content for m in visible], by_user, counts, sources, versions


def comparable_memory(memory: Memory, contents: dict[uuid.UUID, str]) -> Memory:
    summary = contents[memory.superseded_by] if memory.superseded_by is not None else ""
    return replace(
        memory,
        id=uuid.UUID(int=0),
        updated_at=START,
        superseded_by=None,
        metadata={**memory.metadata, "superseded by": summary},
    )


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(sequence=st.lists(steps, min_size=5, max_size=30))
async def test_both_stores_agree_after_every_step(
    postgres_store: PostgresStore, sequence: list[Step]
) -> None:
    agent = str(uuid.uuid4())
    worlds = [World(postgres_store, agent), World(in_memory_store(), agent)]
    for world in worlds:
        await world.store.generations.adopt_generation(IDENTITY)
    times: list[list[datetime]] = [[], []]
    for number, step in enumerate(sequence):
        new_id = uuid7()
        outcomes = []
        for world, times_of_world in zip(worlds, times, strict=True):
            times_of_world.append(datetime.now(UTC))
            outcomes.append(await world.do(step, number, new_id))
        assert outcomes[0] == outcomes[1], step
        states = [await world.state() for world in worlds]
        assert states[0] == states[1], step
    pasts = [
        await world.past(world_times) for world, world_times in zip(worlds, times, strict=True)
    ]
    assert pasts[0] == pasts[1], sequence
