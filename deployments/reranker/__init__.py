"""The reranker: scores how well texts answer a query. It is deployed only if a model is set."""

import deployments.runtime.telemetry_off as _switched_off  # noqa: F401  # before any module loads a model
