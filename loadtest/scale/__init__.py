"""Latency and recall of searches among a million memories; see run.py."""
