import socket

from serve_app.local import ports


def test_a_port_is_not_given_twice() -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        taken = other.getsockname()[1]
        assert ports.free(taken, []) != taken
    assert ports.free(taken, []) == taken
    assert ports.free(taken, [taken]) != taken
