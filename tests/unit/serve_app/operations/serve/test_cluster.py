from serve_app.operations.serve.cluster import cause

HAPROXY = """RuntimeError: HAProxy crashed during startup:
[NOTICE]   (13993) : haproxy version is 2.8.25
[ALERT]    (13993) : Binding [haproxy.cfg:7] for frontend x: cannot bind socket \
(Address already in use) for [127.0.0.1:8404]
[ALERT]    (13993) : [haproxy.main()] Some protocols failed to start their listeners! Exiting.
"""


def test_address_in_use_is_reported() -> None:
    assert cause(HAPROXY).endswith("(Address already in use) for [127.0.0.1:8404]")


def test_other_errors_are_the_last_line_of_the_traceback() -> None:
    assert cause("Traceback:\n  here\nray.exceptions.RaySystemError: no more") == (
        "RaySystemError: no more"
    )
