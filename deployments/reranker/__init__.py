"""The reranker: how well texts answer a query. Optional; without a model it is not deployed."""

import deployments.runtime.telemetry_off as _switched_off  # noqa: F401  # before any module loads a model
