"""Addresses of running services, as commands are given them."""

from urllib.parse import urlsplit

from deployments.domain.errors import InvalidInput


def checked(url: str, example: str = "http://127.0.0.1:8000") -> str:
    """`url`, which a service may answer at. Raises InvalidInput, with the example."""
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or " " in url:
        raise InvalidInput("--url", f"must be like {example}")
    return url
