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
    """`work` is repeated `interval_s` after it has ended."""

    name: str
    interval_s: float
    work: Callable[[], Awaitable[None]]


async def run_periodically(job: Job) -> None:
    """Run the job forever, the first time after one interval. A failure is logged, and the job runs
    again after the next interval."""
    while True:
        await asyncio.sleep(job.interval_s)
        try:
            await job.work()
        except Unavailable as error:
            _logger.warning("%s failed: %s", job.name, error)
        except Exception:
            _logger.warning("%s failed", job.name, exc_info=True)
