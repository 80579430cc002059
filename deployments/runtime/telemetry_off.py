"""Switches off the telemetry of libraries that run models. Every node that loads such a library
imports this module in its package's `__init__`, so that it runs before the library is loaded,
whichever module is imported first."""

import os

# ONNX Runtime (from 1.29) and the model hub's client report their use to their makers unless these
# are set before they are loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
