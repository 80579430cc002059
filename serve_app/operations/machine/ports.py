"""TCP ports: whether one can be listened on, and which is free."""

import secrets
import socket
from collections.abc import Collection

# Below what systems give to outgoing connections (from 32768 on): such a port would be lost to one
# of them between this look at it and the moment when its owner listens. Ray's replicas have 30000.
_DRAWN = range(20_000, 30_000)


def listen_once(host: str, port: int) -> int:
    """Bind and let go; the port, which the system chooses for 0. Raises OSError where taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return int(probe.getsockname()[1])


def free(preferred: int, spoken_for: Collection[int]) -> int:
    """The preferred port, or one drawn by chance where that is taken, or `spoken_for` by something
    of ours that does not listen yet."""
    port = preferred
    while port in spoken_for or not _is_free(port):
        port = secrets.choice(_DRAWN)
    return port


def _is_free(port: int) -> bool:
    try:
        listen_once("0.0.0.0", port)
    except OSError:
        return False
    return True
