"""The embedder: texts to vectors."""

import os

# ONNX Runtime (from 1.29) and the model hub's client report on their use to their makers unless
# told not to before they are loaded. Every module that loads them lies in this package.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
