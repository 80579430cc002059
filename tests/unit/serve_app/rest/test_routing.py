"""Routes, methods and hosts that the API does not serve."""

from uuid import UUID

import httpx2
import pytest

from tests.support.rest_calls import assert_problem


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/nothing", 404, None),
        ("PUT", "/v1/memories", 405, {"GET", "HEAD", "POST", "DELETE"}),
        ("GET", "/v1/memories/search", 405, {"POST"}),
        ("DELETE", "/v1/memories/count", 405, {"GET", "HEAD"}),
        ("DELETE", "/v1/memories/?agent_id=a&user_id=u", 404, None),
        ("DELETE", "/health", 405, {"GET", "HEAD"}),
        ("POST", f"/v1/memories/{UUID(int=7)}", 405, {"GET", "HEAD", "PATCH", "DELETE"}),
    ],
)
async def test_unknown_routes_and_methods_are_refused(
    client: httpx2.AsyncClient, method: str, path: str, status: int, allow: set[str] | None
) -> None:
    answer = await client.request(method, path)
    assert_problem(answer, status)
    if allow is not None:
        assert {name.strip() for name in answer.headers["allow"].split(",")} == allow


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "", "10.0.0.1", "127.0.0.1.nip.io"]
)
@pytest.mark.parametrize("path", ["/v1/memories?agent_id=a", "/metrics", "/docs"])
async def test_foreign_hosts_are_refused(client: httpx2.AsyncClient, host: str, path: str) -> None:
    assert_problem(await client.get(path, headers={"host": host}), 421)


@pytest.mark.parametrize(
    "host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "Memex.Example.org:80"]
)
async def test_known_hosts_are_served(client: httpx2.AsyncClient, host: str) -> None:
    assert (await client.get("/health", headers={"host": host})).status_code == 200


async def test_no_cors_headers(client: httpx2.AsyncClient) -> None:
    answer = await client.options("/v1/memories", headers={"origin": "http://evil.example"})
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]
