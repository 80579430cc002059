"""Ids that sort by time: UUID version 7 (RFC 9562, section 5.7), which Python has from 3.14 on."""

import secrets
import time
from uuid import UUID


def uuid7(unix_ms: int | None = None) -> UUID:
    """A UUID of 48 bits of Unix time in milliseconds (now, by default) and 74 random bits."""
    ms = time.time_ns() // 1_000_000 if unix_ms is None else unix_ms
    random_a, random_b = secrets.randbits(12), secrets.randbits(62)
    return UUID(int=(ms << 80) | (0x7 << 76) | (random_a << 64) | (0b10 << 62) | random_b)
