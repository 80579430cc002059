"""The operations of the service's REST API that an evaluation needs."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from evaluation.benchmarks.dataset import Memory
from evaluation.connection import Answer, Connection, to_json
from evaluation.errors import ServiceError

# The API takes 256. With fewer, even a small machine that stores several scopes at once can embed
# them within a request's deadline.
_BATCH_MEMORIES = 64
_BATCH_BYTES = 960 * 1024  # below 1 MiB, with room for the JSON around the memories
_MAX_QUERY_CHARS = 8_000
_CLEANUP_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Place:
    """An agent and a user. Each scope has its own agent, because rate limits count by agent."""

    agent_id: str
    user_id: str

    @property
    def fields(self) -> dict[str, str]:
        """The fields for bodies and query strings."""
        return {"agent_id": self.agent_id, "user_id": self.user_id}


class Service:
    """A client of the service at `url`. Its methods raise ServiceError."""

    def __init__(self, url: str, log: Callable[[str], None]) -> None:
        self.url = url
        self._log = log
        self._connection = Connection(url, log)

    async def __aenter__(self) -> Self:
        await self._connection.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.__aexit__()

    def take_repeated(self) -> int:
        """The number of requests that were repeated since the last call."""
        repeated, self._connection.repeated = self._connection.repeated, 0
        return repeated

    async def version(self) -> str:
        """The service's version. Raises ServiceError if it is not healthy."""
        answer = await self._connection.request("GET", "/health", patient=False)
        return str(self._field(answer, "version", str))

    async def forget(self, place: Place) -> None:
        """Delete all memories of the place."""
        await self._connection.request("DELETE", "/v1/memories", params=place.fields)

    async def forget_if_possible(self, place: Place) -> None:
        """Try once, briefly, to delete all memories of the place. Raises nothing."""
        try:
            async with asyncio.timeout(_CLEANUP_TIMEOUT_S):
                await self._connection.request(
                    "DELETE", "/v1/memories", params=place.fields, patient=False
                )
        except (ServiceError, TimeoutError):
            pass  # the next run deletes them before it stores any

    async def store(
        self, place: Place, memories: Sequence[Memory], stored: Callable[[int], object]
    ) -> None:
        """Store the memories in an empty place; call `stored` with the size of each batch."""
        total = 0
        for batch in _batches(place, memories):
            body = b'{"memories":[' + b",".join(batch) + b"]}"
            before, total = total, total + len(batch)

            # A 503 leaves open whether the batch is committed; it must not be stored twice.
            async def is_done(before: int = before) -> bool:
                return await self._count(place) > before

            await self._connection.request("POST", "/v1/memories/batch", body=body, is_done=is_done)
            stored(len(batch))
        count = await self._count(place)
        if count != total:
            raise ServiceError(
                f"{place.agent_id} has {count} memories after {total} were stored: another "
                "program writes to it, or a failed write was committed late"
            )

    async def search(self, place: Place, query: str, settings: dict[str, Any]) -> Answer:
        """The hits, best first, as the answer's body."""
        if len(query) > _MAX_QUERY_CHARS:
            self._log(f"a question of {len(query)} characters is cut to {_MAX_QUERY_CHARS}")
        body = {**place.fields, "query": query[:_MAX_QUERY_CHARS], **settings}
        answer = await self._connection.request("POST", "/v1/memories/search", body=body)
        assert answer is not None
        return Answer(self._field(answer, "results", list), answer.seconds)

    async def _count(self, place: Place) -> int:
        answer = await self._connection.request("GET", "/v1/memories/count", params=place.fields)
        return int(self._field(answer, "count", int))

    def _field(self, answer: Answer | None, name: str, kind: type) -> Any:
        body = answer.body if answer else None
        if not isinstance(body, dict) or not isinstance(body.get(name), kind):
            raise ServiceError(f"{self.url} is not memex: an answer has no {name}")
        return body[name]


def rfc3339(moment: datetime) -> str:
    """A UTC time in the format of RFC 3339."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _batches(place: Place, memories: Sequence[Memory]) -> Iterator[list[bytes]]:
    """The memories as JSON, in order, in batches within the limits of a request."""
    batch: list[bytes] = []
    size = 0
    for memory in memories:
        encoded = to_json(
            {
                **place.fields,
                "content": memory.content,
                "created_at": rfc3339(memory.created_at),
                "metadata": memory.metadata,
            }
        )
        if batch and (len(batch) == _BATCH_MEMORIES or size + len(encoded) > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(encoded)
        size += len(encoded) + 1
    if batch:
        yield batch
