from deployments.runtime.ids import uuid7


def test_uuid7_has_version_7() -> None:
    id_ = uuid7()
    assert (id_.version, id_.variant) == (7, "specified in RFC 4122")


def test_ids_sort_by_their_time_and_contain_it() -> None:
    early, late = uuid7(1_700_000_000_000), uuid7(1_700_000_000_001)
    assert early < late
    assert early.int >> 80 == 1_700_000_000_000


def test_ids_of_the_same_millisecond_differ() -> None:
    assert len({uuid7(0) for _ in range(1_000)}) == 1_000
