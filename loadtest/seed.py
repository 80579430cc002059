"""Stores the first memories of every user through the API, before anything is measured."""

import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from deployments.domain.errors import StartupError
from loadtest.scenarios import AGENTS, SEEDED, USERS
from loadtest.texts import text

_CLIENTS = 8
_CREATED = 201
_FOUND = 200


def seed(url: str) -> None:
    """Store the memories, then try a search. Raises StartupError if a request fails."""
    pairs = [(agent, user) for agent in range(AGENTS) for user in range(USERS)]
    bodies = [
        {"agent_id": f"agent-{agent}", "user_id": f"user-{user}", "content": text(number)}
        for number, (agent, user) in enumerate(pairs * SEEDED)
    ]
    address = urlsplit(url).netloc
    with ThreadPoolExecutor(_CLIENTS) as clients:
        list(clients.map(lambda first: _write(address, bodies[first::_CLIENTS]), range(_CLIENTS)))
    query = {"agent_id": "agent-0", "user_id": "user-0", "query": text(0)}
    connection = http.client.HTTPConnection(address, timeout=30)
    answer = _post(connection, "/v1/memories/search", query, _FOUND)
    connection.close()
    if json.loads(answer)["total"] < SEEDED:
        raise StartupError(f"a search among {SEEDED} memories found fewer")


def _write(address: str, bodies: list[dict[str, str]]) -> None:
    connection = http.client.HTTPConnection(address, timeout=30)
    for body in bodies:
        _post(connection, "/v1/memories", body, _CREATED)
    connection.close()


def _post(
    connection: http.client.HTTPConnection, path: str, body: dict[str, str], expected_status: int
) -> bytes:
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise StartupError(f"POST {path} failed: {error!r}") from error
    if response.status != expected_status:
        detail = answer.decode(errors="replace")[:200]
        raise StartupError(f"POST {path} was answered with {response.status}: {detail}")
    return answer
