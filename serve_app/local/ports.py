"""TCP ports: whether one can be listened on, and which is free."""

import socket


def listen_once(host: str, port: int) -> int:
    """Bind and let go; the port, which the system chooses for 0. Raises OSError where taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return int(probe.getsockname()[1])


def free(preferred: int) -> int:
    """The preferred port, or one that the system chooses where that is taken."""
    try:
        return listen_once("0.0.0.0", preferred)
    except OSError:
        return listen_once("0.0.0.0", 0)
