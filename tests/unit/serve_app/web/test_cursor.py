from datetime import UTC, datetime
from uuid import UUID

import pytest

from deployments.domain.errors import InvalidInput
from deployments.domain.memories import PageKey
from serve_app.web.cursor import decode_cursor, encode_cursor


@pytest.mark.parametrize(
    "at",
    [
        datetime(2026, 11, 21, 1, 2, 3, 456_789, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
)
def test_cursor_round_trip(at: datetime) -> None:
    key = PageKey(at, UUID(int=2**128 - 5))
    token = encode_cursor(key)
    assert decode_cursor(token) == key
    assert token.isascii()
    assert not set(token) & set("+/=&?")


@pytest.mark.parametrize("bad", ["", "x", "é", "AAAA", "A" * 34, "=" * 8, "_" * 34, "null"])
def test_invalid_cursor_is_refused(bad: str) -> None:
    with pytest.raises(InvalidInput, match="cursor"):
        decode_cursor(bad)
