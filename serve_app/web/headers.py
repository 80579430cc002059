"""Reads request headers."""

import re

from starlette.datastructures import Headers


def media_type(headers: Headers) -> str:
    """The Content-Type in lower case, without its parameters; empty if there is none."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def accepts_gzip(headers: Headers) -> bool:
    """Whether Accept-Encoding allows gzip; a weight of 0 forbids it (RFC 9110, 12.5.3)."""
    for entry in headers.get("accept-encoding", "").lower().split(","):
        coding, *parameters = (part.strip() for part in entry.split(";"))
        if coding == "gzip":
            return not any(re.fullmatch(r"q=0(\.0*)?", parameter) for parameter in parameters)
    return False
