"""Packages that the locked environment must not contain."""

import importlib.metadata

import pytest


@pytest.mark.parametrize("prefix", ["torch", "sentence-transformers", "nvidia-", "triton"])
def test_no_torch_and_no_cuda(prefix: str) -> None:
    installed = {dist.metadata["Name"].lower() for dist in importlib.metadata.distributions()}
    assert installed
    assert not {name for name in installed if name.startswith(prefix)}
