"""Keeps what runs models from reporting on it. Imported by every node that loads such a library,
in the node's `__init__`, so that it comes before the library whichever module is imported first."""

import os

# ONNX Runtime (from 1.29) and the model hub's client report on their use to their makers unless
# told not to before they are loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
