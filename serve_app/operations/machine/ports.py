"""Free TCP ports."""

import secrets
import socket
from collections.abc import Collection

# Below the ports of outgoing connections (from 32768), one of which could take the port after this
# check and before its owner listens. Ray's replicas listen from 30000 on.
_RANDOM_PORTS = range(20_000, 30_000)


def listen_once(host: str, port: int) -> int:
    """Bind and release; the port, which the system chooses for 0. Raises OSError if it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return int(probe.getsockname()[1])


def free(preferred: int, reserved: Collection[int]) -> int:
    """The preferred port, or a random one if that is taken, or reserved for a program of ours that
    does not listen yet."""
    port = preferred
    while port in reserved or not _is_free(port):
        port = secrets.choice(_RANDOM_PORTS)
    return port


def _is_free(port: int) -> bool:
    try:
        listen_once("0.0.0.0", port)
    except OSError:
        return False
    return True
