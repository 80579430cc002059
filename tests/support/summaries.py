"""Summariser passes over any store."""

from typing import Any

from deployments.analyzer import Analyzer
from deployments.domain.ports.embedding import Embedder
from deployments.domain.ports.store import Store
from deployments.runtime.active_model import ActiveModel
from deployments.summariser.passes import Passes
from deployments.summariser.settings import SummarizationSettings
from tests.support.fakes.embedder import FakeEmbedder


def passes_over(
    store: Store,
    settings: SummarizationSettings,
    embedder: Embedder | None = None,
    **options: Any,
) -> Passes:
    model = ActiveModel(embedder or FakeEmbedder(), store.generations)
    return Passes(settings, store.condensing, model, Analyzer("english"), **options)
