"""What commands take for a service's address."""

import pytest

from deployments.domain.errors import InvalidInput
from serve_app.operations.http import checked
from serve_app.operations.summarise import summarise


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "https://memex.example.org/prefix/"])
def test_takes_what_a_service_may_answer_at(url: str) -> None:
    assert checked(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "foo",
        "127.0.0.1:8000",
        "ftp://host",
        "http://",
        "http://h:x",
        "http://h:0",
        "http://a b",
    ],
)
def test_anything_else_is_refused_before_it_is_asked(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"must be like http://127\.0\.0\.1:8000"):
        checked(url)
    with pytest.raises(InvalidInput, match="--url"):
        summarise(url, None, None)
