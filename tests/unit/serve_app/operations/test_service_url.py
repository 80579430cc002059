"""Which URLs of a service commands accept."""

import pytest

from deployments.domain.errors import InvalidInput
from serve_app.operations.http import valid_url
from serve_app.operations.summarise import summarise


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "https://memex.example.org/prefix/"])
def test_service_urls_are_accepted(url: str) -> None:
    assert valid_url(url) == url


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
def test_other_urls_are_refused_before_any_request(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"must be like http://127\.0\.0\.1:8000"):
        valid_url(url)
    with pytest.raises(InvalidInput, match="--url"):
        summarise(url, None, None)
