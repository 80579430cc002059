"""What can be learned of a running service from beside it: its launcher, its API, Ray's
dashboard."""

import fcntl
import http.client
import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve_app.settings import Settings

_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Of an HTTP request; `body` is empty where it was not text."""

    status: int
    body: str

    def json(self) -> Any:
        """None where it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class NoAnswer(Exception):
    """Nothing answers there; says why."""


def launcher_pid(data_dir: Path) -> int | None:
    """The process that has the data folder, a `memex serve` mostly; None where there is none. The
    folder is not changed."""
    try:
        descriptor = os.open(data_dir / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(descriptor, 32).decode(errors="replace").strip()
        return int(text) if text.isdecimal() else 0
    finally:
        os.close(descriptor)
    return None


def api_url(settings: Settings) -> str:
    """Where `memex serve` with these settings listens."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def get(url: str, headers: dict[str, str] | None = None, timeout_s: float = _TIMEOUT_S) -> Answer:
    """Directly, whatever http_proxy says. Raises NoAnswer."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        request = urllib.request.Request(url, headers=headers or {})  # noqa: S310
        with direct.open(request, timeout=timeout_s) as answer:
            return Answer(answer.status, answer.read().decode(errors="replace"))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.read().decode(errors="replace"))
    except urllib.error.URLError as error:
        raise NoAnswer(_reason(error.reason)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NoAnswer(_reason(error)) from None


def serve_details(settings: Settings) -> Answer:
    """What Serve tells of its applications, by Ray's dashboard. Raises NoAnswer."""
    token = _ray_token(settings.data_dir)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return get(f"{dashboard_url(settings)}/api/serve/applications/", headers)


def dashboard_url(settings: Settings) -> str:
    """Ray's own variable where it is set, as its commands have it."""
    return os.environ.get(
        "RAY_DASHBOARD_ADDRESS", f"http://127.0.0.1:{settings.dashboard_port}"
    ).rstrip("/")


def _ray_token(data_dir: Path) -> str | None:
    if "RAY_AUTH_TOKEN" in os.environ:
        return os.environ["RAY_AUTH_TOKEN"].strip()
    places = (
        os.environ.get("RAY_AUTH_TOKEN_PATH"),
        data_dir / "ray_token",
        Path("~/.ray/auth_token").expanduser(),
    )
    for place in places:
        try:
            if place:
                return Path(place).read_text().strip()
        except OSError:
            continue
    return None


def _reason(error: object) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
