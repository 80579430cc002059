"""`memex`: its version, its help, and the flags of `memex serve`."""

import argparse
import importlib.metadata
import os
import sys

import pytest

from serve_app.cli.main import main
from serve_app.cli.service import serve
from serve_app.settings import Settings


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["memex", *arguments])
    try:
        return main()
    except SystemExit as stop:  # argparse's way to end
        return int(stop.code or 0)


def test_version_has_the_program_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"memex {importlib.metadata.version('memex-serve')}\n"


def test_without_arguments_it_prints_its_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("usage: memex")
    assert "serve" in printed.out
    assert printed.err == ""


def test_unknown_command_is_bad_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "sevre") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--port", "70000"), "argument --port: Input should be less than or equal to 65535"),
        (("--port", "http"), "argument --port: Input should be a valid integer"),
        (("--profile", "desktop"), "argument --profile: profile 'desktop' does not exist"),
        (("--host", ""), "argument --host: "),
    ],
)
def test_bad_value_of_a_flag_is_bad_usage(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    assert run(monkeypatch, "serve", *arguments) == 2
    assert message in capsys.readouterr().err


def test_flags_override_variables_for_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Settings] = []
    monkeypatch.setattr("serve_app.operations.serve.launcher.serve", served.append)
    for name, value in (("PORT", "1"), ("HOST", "::1"), ("ALLOWED_HOSTS", "c.example")):
        monkeypatch.setenv(f"MEMEX_{name}", value)
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    serve.run(parser.parse_args(["--port", "2", "--allowed-hosts", "a.example,b.example"]))
    (settings,) = served
    assert (settings.port, settings.host) == (2, "::1")
    assert settings.allowed_hosts == ("a.example", "b.example")
    assert os.environ["MEMEX_PORT"] == "2"
