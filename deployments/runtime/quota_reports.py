"""Quotas that a node's call counted, which travel to the caller beside the call's result, because
only some callers need them."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from deployments.domain.rate_limits import Quota

_reports: ContextVar[list[Quota] | None] = ContextVar("memex_quotas", default=None)


@dataclass(frozen=True, slots=True)
class WithQuotas:
    """A call's result, and the quotas that it counted."""

    result: Any
    quotas: list[Quota]


def report(quota: Quota) -> None:
    """Add a quota to those of the call that runs."""
    quotas = _reports.get()
    if quotas is not None:
        quotas.append(quota)


@contextmanager
def collecting() -> Iterator[list[Quota]]:
    """The quotas that are reported inside."""
    quotas: list[Quota] = []
    token = _reports.set(quotas)
    try:
        yield quotas
    finally:
        _reports.reset(token)
