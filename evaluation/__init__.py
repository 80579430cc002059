"""Measures a running service's retrieval on public benchmarks, using only its REST API."""
