"""The Summariser node: condenses memories in the background and on request, by calls to the
Embedder and the MemoryStore."""

import asyncio
import time

from ray.serve.handle import DeploymentHandle

from deployments.analyzer import Analyzer
from deployments.domain.ports import summaries as ports
from deployments.domain.summaries import PassReport
from deployments.runtime import node
from deployments.runtime.active_model import ActiveModel
from deployments.runtime.metrics import SummariserMetrics, count_cpu
from deployments.runtime.periodic import Job, run_periodically
from deployments.summariser.passes import Passes
from serve_app.clients.store.remote import remote_store
from serve_app.clients.wiring import embedder_by_model
from serve_app.settings import Settings

_LAG_INTERVAL_S = 1.0


@node.answering(ports.Summariser)
class Summariser:
    """Implements the Summariser port through its handle."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, settings: Settings, embedder: DeploymentHandle, store: DeploymentHandle
    ) -> None:
        node.prepare("Summariser")
        self._interval_s = settings.summarization.interval_seconds
        self._metrics = SummariserMetrics(settings.metrics)
        count_cpu(settings.metrics)
        self._lag_start_s = time.monotonic()
        self._last_pass_s: float | None = None
        timeout_s = settings.request_timeout_s
        remote = remote_store(store, timeout_s)
        self._passes = Passes(
            settings.summarization,
            remote.condensing,
            ActiveModel(embedder_by_model(embedder, timeout_s), remote.generations),
            Analyzer(settings.search.language),
            self._metrics.count_condensed,
        )
        jobs = (
            Job("a pass of the summariser", self._interval_s, self._pass),
            Job("observing the summariser's lag", _LAG_INTERVAL_S, self._observe_lag),
        )
        self._jobs = (
            [asyncio.create_task(run_periodically(job)) for job in jobs]
            if settings.summarization.enabled
            else []
        )

    async def run(self, agent_id: str | None, user_id: str | None, budget_s: float) -> PassReport:
        started_s = time.perf_counter()
        status = "error"
        try:
            report = await self._passes.run(agent_id, user_id, budget_s)
            status = "error" if report.failed else "success"
            return report
        finally:
            self._metrics.count_pass(status, time.perf_counter() - started_s)

    async def _pass(self) -> None:
        await self.run(None, None, float("inf"))
        await self._passes.purge()
        self._lag_start_s = time.monotonic()
        self._last_pass_s = time.time()

    async def _observe_lag(self) -> None:
        lag_s = time.monotonic() - self._lag_start_s
        self._metrics.set_schedule(self._interval_s, lag_s, self._last_pass_s)
