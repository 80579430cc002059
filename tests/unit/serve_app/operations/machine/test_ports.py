import socket
from pathlib import Path

from serve_app.operations.machine import ports


def test_free_skips_taken_and_excluded_ports() -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        taken = other.getsockname()[1]
        assert ports.free(taken, []) != taken
    assert ports.free(taken, []) == taken
    assert ports.free(taken, [taken]) != taken


def test_drawn_port_is_below_the_ephemeral_range() -> None:
    first, _ = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        assert ports.free(other.getsockname()[1], []) < int(first)
