"""`memex export`: a complete file or none, and a one-line error."""

import asyncio
import io
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deployments.domain.errors import InvalidInput, TransferFailed
from serve_app.cli.main import main
from serve_app.operations.transfer.client import Export
from serve_app.operations.transfer.export import _output, copy
from serve_app.web.jsonl import end_line
from tests.support.transfer_server import Server

LINES = b'{"n": 1}\n{"n": 2}\n'


def export_of(total: int, body: bytes, step: int = 5) -> Export:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), step):
            yield body[start : start + step]

    return Export(total, chunks())


async def test_export_is_written_unchanged() -> None:
    file = io.BytesIO()
    assert await copy(export_of(2, LINES + end_line(2)), file) == 2
    assert file.getvalue() == LINES + end_line(2)
    assert await copy(export_of(0, end_line(0)), io.BytesIO()) == 0


@pytest.mark.parametrize(
    "body",
    [
        b"", LINES, LINES[:-3], LINES + end_line(3), LINES + end_line(2)[:-5],
        LINES + end_line(2) + b"{", LINES + end_line(2) + LINES,
    ],
)  # fmt: skip
async def test_export_without_a_valid_end_is_refused(body: bytes) -> None:
    with pytest.raises(TransferFailed, match="broke off after"):
        await copy(export_of(2, body), io.BytesIO())


def test_file_gets_its_name_when_complete(tmp_path: Path) -> None:
    target = tmp_path / "a.jsonl"
    target.write_text("before")

    def fail() -> None:
        with _output(str(target)) as file:
            file.write(b"half")
            assert len(os.listdir(tmp_path)) == 2
            raise TransferFailed("x")

    with pytest.raises(TransferFailed):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]
    assert target.read_text() == "before"
    with _output(str(target)) as file:
        file.write(b"whole")
        assert target.read_text() == "before"
    assert target.read_text() == "whole"
    assert target.stat().st_mode & 0o077 == 0


def test_symlink_and_pipe_are_written_in_place(tmp_path: Path) -> None:
    target, link, pipe = tmp_path / "a", tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(target)
    with _output(str(link)) as file:
        file.write(b"whole")
    assert link.is_symlink()
    assert target.read_text() == "whole"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with _output(str(pipe)) as file:
        file.write(b"whole")
    assert os.read(reader, 10) == b"whole"
    os.close(reader)
    assert pipe.is_fifo()


@pytest.mark.parametrize("name", ["missing/file", "folder", "file/below"])
def test_unwritable_target_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(TransferFailed, match="cannot be written"), _output(str(tmp_path / name)):
        pass


@contextmanager
def command_line(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["memex", *arguments])
        yield


async def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command in a thread, because it starts an event loop of its own."""
    monkeypatch.setattr("serve_app.operations.stopping.run", asyncio.run)
    with command_line(monkeypatch, *arguments):
        return await asyncio.to_thread(main)


async def test_command_exports_to_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "a.jsonl"
    async with Server(LINES + end_line(2)) as server:
        arguments = ("export", str(file), "--url", server.url, "--agent", "ä &", "--user", "u")
        assert await run(monkeypatch, *arguments) == 0
        assert server.queries == [{"agent_id": "ä &", "user_id": "u"}]
    assert await asyncio.to_thread(file.read_bytes) == LINES + end_line(2)
    assert capsys.readouterr() == ("", f"memex: exported 2 memories to {file}\n")


async def test_interrupted_export_leaves_no_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    async with Server(LINES, cut_off=True) as server:
        arguments = ("export", str(tmp_path / "a"), "--url", server.url, "--agent", "a")
        assert await run(monkeypatch, *arguments) == 1
    assert os.listdir(tmp_path) == []
    stderr = capsys.readouterr().err
    assert stderr == "memex: the export broke off after 2 of 2 memories: try again\n"


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (503, b'{"detail": "2 exports run already"}', "answers 503: 2 exports run already"),
        (404, b"nothing", "answers 404: Not Found"),
        (200, b"<html>", "is not memex"),
    ],
)
async def test_refusal_is_a_one_line_error(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    status: int,
    body: bytes,
    message: str,
) -> None:
    async with Server(body, status=status, total="") as server:
        assert await run(monkeypatch, "export", "--url", server.url, "--agent", "a") == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"{server.url} {message}" in err


@pytest.mark.parametrize("command", [("export",), ("import", __file__)])
async def test_unreachable_service_is_a_one_line_error(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...],
) -> None:
    async with Server(b"") as server:
        pass
    assert await run(monkeypatch, *command, "--url", server.url, "--agent", "a") == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"{server.url} cannot be reached" in err


@pytest.mark.parametrize(
    "url", ["localhost:8000", "http://", "http://a:x", "http://a b", "ftp://a"]
)
async def test_invalid_url_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    from serve_app.operations.transfer.client import Client

    with pytest.raises(InvalidInput, match="--url"):
        Client(url)
