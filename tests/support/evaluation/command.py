"""Runs of the evaluation command."""

import asyncio
import json
from pathlib import Path
from typing import Any

from evaluation.cli import main
from tests.support.evaluation.memex import FakeMemex

BATCH, SEARCH = "/v1/memories/batch", "/v1/memories/search"


async def evaluate(memex: FakeMemex, data: Path, *options: str) -> int:
    arguments = [str(data), "--url", memex.url, "--out", str(data.parent / "out.json"), *options]
    return await asyncio.to_thread(main, arguments)


def result_of(data: Path) -> Any:
    return json.loads((data.parent / "out.json").read_text())
