"""Work that a replica does at regular intervals."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from deployments.domain.errors import Unavailable
from deployments.runtime import logs

_logger = logging.getLogger(logs.NAME)


@dataclass(frozen=True, slots=True)
class Job:
    """`work` is done again `interval_s` after it has ended."""

    name: str
    interval_s: float
    work: Callable[[], Awaitable[None]]


async def run_periodically(job: Job) -> None:
    """For ever, the first time after one interval. What fails is logged, and tried again the next
    time."""
    while True:
        await asyncio.sleep(job.interval_s)
        try:
            await job.work()
        except Unavailable as error:
            _logger.warning("%s failed: %s", job.name, error)
        except Exception:
            _logger.warning("%s failed", job.name, exc_info=True)
