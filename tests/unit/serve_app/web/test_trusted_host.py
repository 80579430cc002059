import pytest

from serve_app.web.trusted_host import host_name, is_loopback


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost", "localhost"),
        ("LocalHost:8000", "localhost"),
        ("127.0.0.1:8000", "127.0.0.1"),
        ("[::1]:8000", "::1"),
        ("example.org.", "example.org"),
        ("", ""),
        ("localhost:x", ""),
        ("localhost:999999", ""),
        ("user@localhost", ""),
        ("[::1%25lo]", ""),
        ("[::1]x", ""),
    ],
)
def test_host_name_is_read_from_the_header(header: str, name: str) -> None:
    assert host_name(header) == name


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_names_are_recognised(name: str) -> None:
    assert is_loopback(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "example.org",
        "localhost.example.org",
        "127.0.0.1.example.org",
        "0.0.0.0",
        "10.0.0.1",
        "2130706433",
    ],
)
def test_other_names_are_not_loopback(name: str) -> None:
    assert not is_loopback(name)
