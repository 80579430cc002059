"""The share of important facts that a summary keeps.

`python -m tests.support.summary_quality` prints it for each method of choosing sentences.
tests/data/summaries.json has eight scopes of 50 memories, written for this measurement, and for
each scope 15 facts that a careful reader chose before any summary existed.
"""

import json
import tempfile
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, get_args

from deployments.analyzer import Analyzer
from deployments.domain.ports.embedding import Encoder
from deployments.domain.summaries import Source
from deployments.embedder.encoders.load import load_encoder
from deployments.embedder.settings import EmbeddingSettings
from deployments.runtime.ids import uuid7
from deployments.summariser.extract import extract
from deployments.summariser.settings import Method

DATA = Path(__file__).parents[1] / "data" / "summaries.json"


@cache
def scopes() -> list[dict[str, Any]]:
    return list(json.loads(DATA.read_text(encoding="utf-8"))["scopes"])


def sources(scope: dict[str, Any], encoder: Encoder) -> list[Source]:
    contents = [memory["content"] for memory in scope["memories"]]
    embeddings = encoder.encode(contents, "passage")
    times = [datetime.fromisoformat(memory["created_at"]) for memory in scope["memories"]]
    return [
        Source(uuid7(), content, embedding, 1.0, {}, time, time)
        for content, embedding, time in zip(contents, embeddings, times, strict=True)
    ]


def fact_recall(encoder: Encoder, method: Method, max_sentences: int = 20) -> float:
    """The share of all facts that their scope's summary contains."""
    found = total = 0
    for scope in scopes():
        lines = extract(sources(scope, encoder), Analyzer("english"), method, max_sentences, 8_000)
        text = "\n".join(lines)
        found += sum(any(phrase in text for phrase in fact["any_of"]) for fact in scope["facts"])
        total += len(scope["facts"])
    return found / total


def main() -> None:
    with tempfile.TemporaryDirectory() as models:
        encoder = load_encoder(EmbeddingSettings(), Path(models))
        for method in get_args(Method):
            recalls = [f"{n}: {fact_recall(encoder, method, n):.3f}" for n in (10, 15, 20)]
            print(f"{method:10} recall of facts by sentences  {'  '.join(recalls)}")


if __name__ == "__main__":
    main()
