"""The embedder: turns texts into embeddings."""

import deployments.runtime.telemetry_off as _switched_off  # noqa: F401  # before any module loads a model
