from deployments.runtime.ids import uuid7


def test_is_a_version_7_uuid() -> None:
    made = uuid7()
    assert (made.version, made.variant) == (7, "specified in RFC 4122")


def test_orders_by_time_and_keeps_it() -> None:
    early, late = uuid7(1_700_000_000_000), uuid7(1_700_000_000_001)
    assert early < late
    assert early.int >> 80 == 1_700_000_000_000


def test_does_not_repeat() -> None:
    assert len({uuid7(0) for _ in range(1_000)}) == 1_000
