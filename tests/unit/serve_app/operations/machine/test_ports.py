import socket
from pathlib import Path

from serve_app.operations.machine import ports


def test_a_port_is_not_given_twice() -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        taken = other.getsockname()[1]
        assert ports.free(taken, []) != taken
    assert ports.free(taken, []) == taken
    assert ports.free(taken, [taken]) != taken


def test_a_port_that_is_drawn_is_none_that_an_outgoing_connection_can_take() -> None:
    first, _ = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        assert ports.free(other.getsockname()[1], []) < int(first)
