import pytest

from deployments.domain.rate_limits import Quota, RateLimit
from serve_app.services.rate_quotas import RateQuotas

WRITES, SEARCHES = RateLimit("write", 60), RateLimit("search", 60)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def quotas(clock: Clock) -> RateQuotas:
    return RateQuotas(clock)


def test_last_report_counts_until_its_reset(quotas: RateQuotas, clock: Clock) -> None:
    assert quotas.lowest(WRITES, ["a"]) is None
    quotas.record(Quota("a", WRITES, 5, 40.0))
    quotas.record(Quota("a", WRITES, 4, 30.0))
    quotas.record(Quota("a", SEARCHES, 1, 30.0))
    clock.now_s += 10
    assert quotas.lowest(WRITES, ["a"]) == Quota("a", WRITES, 4, 20.0)
    assert quotas.lowest(WRITES, ["b"]) is None
    clock.now_s += 21
    assert quotas.lowest(WRITES, ["a"]) is None


def test_agent_with_the_fewest_calls_left_comes_first(quotas: RateQuotas) -> None:
    for agent, remaining, reset_s in (("a", 5, 1.0), ("b", 2, 1.0), ("c", 2, 9.0), ("d", 1, 9.0)):
        quotas.record(Quota(agent, WRITES, remaining, reset_s))
    assert quotas.lowest(WRITES, ["a", "b", "c"]) == Quota("c", WRITES, 2, 9.0)


def test_number_of_remembered_quotas_is_limited(quotas: RateQuotas) -> None:
    for n in range(10_001):
        quotas.record(Quota(f"agent {n}", WRITES, 1, 60.0))
    assert quotas.lowest(WRITES, ["agent 0"]) is None
    assert quotas.lowest(WRITES, ["agent 10000"]) is not None
