"""`memex export`: a file that is whole, or none; one line that says why."""

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
from serve_app.operations.transfer.export import _written, copy
from serve_app.web.jsonl import end_line
from tests.support.transfer_server import Server

LINES = b'{"n": 1}\n{"n": 2}\n'


def begun(total: int, body: bytes, step: int = 5) -> Export:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), step):
            yield body[start : start + step]

    return Export(total, chunks())


async def test_what_comes_is_written_as_it_is() -> None:
    file = io.BytesIO()
    assert await copy(begun(2, LINES + end_line(2)), file) == 2
    assert file.getvalue() == LINES + end_line(2)
    assert await copy(begun(0, end_line(0)), io.BytesIO()) == 0


@pytest.mark.parametrize(
    "body",
    [
        b"", LINES, LINES[:-3], LINES + end_line(3), LINES + end_line(2)[:-5],
        LINES + end_line(2) + b"{", LINES + end_line(2) + LINES,
    ],
)  # fmt: skip
async def test_what_does_not_end_as_it_must_is_no_export(body: bytes) -> None:
    with pytest.raises(TransferFailed, match="broke off after"):
        await copy(begun(2, body), io.BytesIO())


def test_a_file_has_its_name_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.jsonl"
    target.write_text("before")

    def fail() -> None:
        with _written(str(target)) as file:
            file.write(b"half")
            assert len(os.listdir(tmp_path)) == 2
            raise TransferFailed("x")

    with pytest.raises(TransferFailed):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]
    assert target.read_text() == "before"
    with _written(str(target)) as file:
        file.write(b"whole")
        assert target.read_text() == "before"
    assert target.read_text() == "whole"
    assert target.stat().st_mode & 0o077 == 0


def test_a_link_and_a_device_stay_what_they_are(tmp_path: Path) -> None:
    target, link, pipe = tmp_path / "a", tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(target)
    with _written(str(link)) as file:
        file.write(b"whole")
    assert link.is_symlink()
    assert target.read_text() == "whole"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with _written(str(pipe)) as file:
        file.write(b"whole")
    assert os.read(reader, 10) == b"whole"
    os.close(reader)
    assert pipe.is_fifo()


@pytest.mark.parametrize("name", ["missing/file", "folder", "file/below"])
def test_where_nothing_can_be_written_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(TransferFailed, match="cannot be written"), _written(str(tmp_path / name)):
        pass


@contextmanager
def arguments(monkeypatch: pytest.MonkeyPatch, *given: str) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["memex", *given])
        yield


async def run(monkeypatch: pytest.MonkeyPatch, *given: str) -> int:
    """The command, in a thread: it has an event loop of its own."""
    monkeypatch.setattr("serve_app.operations.stopping.run", asyncio.run)
    with arguments(monkeypatch, *given):
        return await asyncio.to_thread(main)


async def test_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "a.jsonl"
    async with Server(LINES + end_line(2)) as server:
        given = ("export", str(file), "--url", server.url, "--agent", "ä &", "--user", "u")
        assert await run(monkeypatch, *given) == 0
        assert server.asked == [{"agent_id": "ä &", "user_id": "u"}]
    assert await asyncio.to_thread(file.read_bytes) == LINES + end_line(2)
    assert capsys.readouterr() == ("", f"memex: exported 2 memories to {file}\n")


async def test_an_export_that_is_cut_off_leaves_no_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    async with Server(LINES, cut_off=True) as server:
        given = ("export", str(tmp_path / "a"), "--url", server.url, "--agent", "a")
        assert await run(monkeypatch, *given) == 1
    assert os.listdir(tmp_path) == []
    said = capsys.readouterr().err
    assert said == "memex: the export broke off after 2 of 2 memories: try again\n"


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (503, b'{"detail": "2 exports run already"}', "answers 503: 2 exports run already"),
        (404, b"nothing", "answers 404: Not Found"),
        (200, b"<html>", "is not memex"),
    ],
)
async def test_a_refusal_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    status: int,
    body: bytes,
    said: str,
) -> None:
    async with Server(body, status=status, total="") as server:
        assert await run(monkeypatch, "export", "--url", server.url, "--agent", "a") == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"{server.url} {said}" in err


@pytest.mark.parametrize("command", [("export",), ("import", __file__)])
async def test_a_service_that_is_not_there_is_one_line(
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
async def test_a_bad_url_is_one_line(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    from serve_app.operations.transfer.client import Client

    with pytest.raises(InvalidInput, match="--url"):
        Client(url)
