"""The Summariser node: passes over the other nodes' handles, in the background and when asked."""

import asyncio
import contextlib
import logging
import time

from ray.serve.handle import DeploymentHandle

from deployments import logs, node
from deployments.analyzer import Analyzer
from deployments.domain import ports
from deployments.domain.summaries import PassReport
from deployments.metrics import SummariserMetrics, count_cpu
from deployments.summariser.passes import Passes
from serve_app.clients.summaries import RemoteSummaryStore
from serve_app.edges import embedders
from serve_app.settings import Settings

_LAG_INTERVAL_S = 1.0
_logger = logging.getLogger(logs.NAME)


@node.answering(ports.Summariser)
class Summariser:
    """Implements the Summariser port through its handle. It calls nodes as the ingress does, so it
    stands beside that."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, settings: Settings, embedder: DeploymentHandle, store: DeploymentHandle
    ) -> None:
        node.prepare("Summariser")
        self._interval_s = settings.summarization.interval_seconds
        self._metrics = SummariserMetrics(settings.metrics)
        count_cpu(settings.metrics)
        self._lags_since_s = time.monotonic()
        self._last_pass_s: float | None = None
        timeout_s = settings.request_timeout_s
        self._passes = Passes(
            settings.summarization,
            RemoteSummaryStore(store, timeout_s),
            embedders(embedder, timeout_s),
            Analyzer(settings.search.language),
            self._metrics.condensed,
        )
        self._background = (
            [asyncio.create_task(self._regularly()), asyncio.create_task(self._tell_lag())]
            if settings.summarization.enabled
            else []
        )

    async def run(self, agent_id: str | None, user_id: str | None, budget_s: float) -> PassReport:
        started = time.perf_counter()
        status = "error"
        try:
            report = await self._passes.run(agent_id, user_id, budget_s)
            status = "error" if report.failed else "success"
            return report
        finally:
            self._metrics.ran(status, time.perf_counter() - started)

    async def _regularly(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            with contextlib.suppress(Exception):  # logged; the next time may go better
                await self._pass()

    async def _pass(self) -> None:
        try:
            await self.run(None, None, float("inf"))
            await self._passes.purge()
        except Exception:
            _logger.warning("a pass of the summariser failed", exc_info=True)
            raise
        self._lags_since_s = time.monotonic()
        self._last_pass_s = time.time()

    async def _tell_lag(self) -> None:
        while True:
            lag_s = time.monotonic() - self._lags_since_s
            self._metrics.scheduled(self._interval_s, lag_s, self._last_pass_s)
            await asyncio.sleep(_LAG_INTERVAL_S)
