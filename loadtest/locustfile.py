"""Users of the service for Locust. `make loadtest` runs them one after another. To watch a run on
http://127.0.0.1:8089, start a service with MEMEX_RATE_LIMIT_…_PER_MINUTE=0, and:

    .venv/bin/locust -f loadtest/locustfile.py --host http://127.0.0.1:8000 RealisticUser

Three searches to one write, over the users of scenarios.py; no text is sent twice. Each user has
five memories before the first request. Only this module imports Locust, because the import replaces
parts of the standard library.
"""

import http.client
import itertools
import json
import random
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import gevent  # type: ignore[import-untyped]
from locust import FastHttpUser, between, constant, events, task
from locust.env import Environment
from locust.exception import StopTest

from deployments.domain.errors import StartupError
from loadtest import texts
from loadtest.answers import fault_of_search, fault_of_write
from loadtest.scenarios import AGENTS, SEEDED, USERS
from loadtest.seed import seed

_WRITE = "/v1/memories"
_SEARCH = "/v1/memories/search"
_TIMEOUT_S = 30.0

_numbers = itertools.count(time.time_ns() // 1_000)  # not those of an earlier run


class _User(FastHttpUser):
    abstract = True
    network_timeout = _TIMEOUT_S
    connection_timeout = _TIMEOUT_S

    @task(3)
    def search(self) -> None:
        request = _entry("query")
        with self.client.post(_SEARCH, json=request, name=_SEARCH, catch_response=True) as answer:
            if fault := fault_of_search(request, answer.status_code, answer.content):
                answer.failure(fault)

    @task(1)
    def write(self) -> None:
        request = _entry("content")
        with self.client.post(_WRITE, json=request, name=_WRITE, catch_response=True) as answer:
            if fault := fault_of_write(request, answer.status_code, answer.content):
                answer.failure(fault)


class RealisticUser(_User):
    """Thinks for 0.1 to 0.3 s between two requests."""

    wait_time = between(0.1, 0.3)


class SaturationUser(_User):
    """Sends the next request as soon as it has the answer to the last one."""

    wait_time = constant(0)


@events.init_command_line_parser.add_listener
def _add_option(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--load-time-s",
        type=float,
        default=0.0,
        help="seconds from the first request to the end; --run-time includes the seeding",
    )


@events.test_start.add_listener
def _prepare(environment: Environment, **_: Any) -> None:
    url = environment.host
    if not url:
        raise StopTest("--host is missing: the URL of a running service")
    try:
        if not _is_seeded(url):
            seed(url)
    except (StartupError, OSError, http.client.HTTPException) as error:
        environment.process_exit_code = 1
        raise StopTest(f"the first memories could not be stored: {error}") from error
    environment.stats.clear_all()  # its clock also ran during the seeding
    assert environment.parsed_options is not None
    assert environment.runner is not None
    if load_time_s := environment.parsed_options.load_time_s:
        gevent.spawn_later(load_time_s, environment.runner.quit)


def _is_seeded(url: str) -> bool:
    """Whether each user has the first memories, from an earlier run."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_TIMEOUT_S)
    try:
        return all(_count(connection, *pair) >= SEEDED for pair in _pairs())
    finally:
        connection.close()


def _count(connection: http.client.HTTPConnection, agent: int, user: int) -> int:
    path = f"{_WRITE}/count?agent_id=agent-{agent}&user_id=user-{user}"
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    if response.status != http.HTTPStatus.OK:
        raise StartupError(f"GET {path} was answered with {response.status}")
    return int(json.loads(body)["count"])


def _pairs() -> Iterator[tuple[int, int]]:
    return itertools.product(range(AGENTS), range(USERS))


def _entry(field: str) -> dict[str, str]:
    """The next text, for a random user."""
    agent, user = divmod(random.randrange(AGENTS * USERS), USERS)  # noqa: S311
    scope = {"agent_id": f"agent-{agent}", "user_id": f"user-{user}"}
    return scope | {field: texts.text(next(_numbers))}
