"""Measures the retrieval of a running service on public benchmarks, through its REST API alone."""
