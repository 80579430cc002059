"""Names in Host and Origin headers, and which of them are this service's."""

import functools
import ipaddress
import re
from collections.abc import Collection

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\[\]:@/]+))(?::\d{1,5})?", re.ASCII)


def host_name(host: str) -> str:
    """A Host header's name, lower-case, without port, IPv6 brackets or the root's dot; empty where
    the header is malformed."""
    match = _HOST.fullmatch(host.strip().lower())
    return "" if match is None else (match[1] or match[2]).rstrip(".")


@functools.lru_cache(maxsize=64)  # whoever asks names few, over and over
def is_loopback(name: str) -> bool:
    """`localhost`, 127.0.0.0/8 or ::1."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_served(hosts: list[str], allowed: Collection[str]) -> bool:
    """Whether a request with these Host headers was meant for us: one header, which names loopback
    or a host in `allowed`, where `*` stands for any."""
    if len(hosts) != 1:
        return False
    name = host_name(hosts[0])
    return "*" in allowed or name in allowed or is_loopback(name)
