"""The embedder: texts to vectors."""

import deployments.telemetry as _switched_off  # noqa: F401  # before any module loads a model
