"""TCP ports: whether one can be listened on, and which is free."""

import socket
from collections.abc import Collection


def listen_once(host: str, port: int) -> int:
    """Bind and let go; the port, which the system chooses for 0. Raises OSError where taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return int(probe.getsockname()[1])


def free(preferred: int, spoken_for: Collection[int]) -> int:
    """The preferred port, or one that the system chooses where that is taken, or `spoken_for`
    by something of ours that does not listen yet."""
    if preferred not in spoken_for:
        try:
            return listen_once("0.0.0.0", preferred)
        except OSError:
            pass
    while (port := listen_once("0.0.0.0", 0)) in spoken_for:
        pass
    return port
