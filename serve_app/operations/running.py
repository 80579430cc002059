"""Finds a running service: its launcher, its API and Ray's dashboard."""

import fcntl
import os
from pathlib import Path

from serve_app.operations.http import Answer, get
from serve_app.settings import Settings


def launcher_pid(data_dir: Path) -> int | None:
    """The process that holds the data folder's lock, usually `memex serve`: 0 if its id is unknown,
    None if nobody holds it. Changes nothing in the folder."""
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
    """The URL at which `memex serve` with these settings listens."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def serve_details(settings: Settings) -> Answer:
    """Serve's applications as Ray's dashboard describes them. Raises NoAnswer."""
    token = _ray_token(settings.data_dir)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return get(f"{dashboard_url(settings)}/api/serve/applications/", headers)


def dashboard_url(settings: Settings) -> str:
    """`RAY_DASHBOARD_ADDRESS` if set, as in Ray's CLI."""
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
