"""Models other than the default, which fastembed runs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fastembed import TextEmbedding
from tokenizers import Tokenizer

from deployments.domain.embeddings import Embeddings, ModelIdentity, TextKind
from deployments.embedder.encoders.windows import pool_windows, split
from deployments.runtime import hub

_BGE_QUERY = "Represent this sentence for searching relevant passages: "

# (query, passage) prefixes from the models' cards; fastembed adds none for these models.
_PREFIXES: dict[str, tuple[str, str]] = {
    "baai/bge-small-en": (_BGE_QUERY, ""),
    "baai/bge-base-en": (_BGE_QUERY, ""),
    "baai/bge-small-en-v1.5": (_BGE_QUERY, ""),
    "baai/bge-base-en-v1.5": (_BGE_QUERY, ""),
    "baai/bge-large-en-v1.5": (_BGE_QUERY, ""),
    "mixedbread-ai/mxbai-embed-large-v1": (_BGE_QUERY, ""),
    "snowflake/snowflake-arctic-embed-xs": (_BGE_QUERY, ""),
    "snowflake/snowflake-arctic-embed-s": (_BGE_QUERY, ""),
    "snowflake/snowflake-arctic-embed-m": (_BGE_QUERY, ""),
    "snowflake/snowflake-arctic-embed-m-long": (_BGE_QUERY, ""),
    "snowflake/snowflake-arctic-embed-l": (_BGE_QUERY, ""),
    "nomic-ai/nomic-embed-text-v1": ("search_query: ", "search_document: "),
    "nomic-ai/nomic-embed-text-v1.5": ("search_query: ", "search_document: "),
    "nomic-ai/nomic-embed-text-v1.5-q": ("search_query: ", "search_document: "),
    "intfloat/multilingual-e5-large": ("query: ", "passage: "),
}

_BATCH_ROWS = 16


class FastembedEncoder:
    """Implements the Encoder port. Downloads the model if the cache lacks it."""

    def __init__(
        self,
        model: str,
        cache_dir: Path,
        threads: int,
        count_tokens: Callable[[int], None] = lambda _tokens: None,
        **options: Any,
    ) -> None:
        self._count_tokens = count_tokens
        self._model = load(model, cache_dir, threads, **options)
        self._prefixes = dict(zip(("query", "passage"), prefixes(model), strict=True))
        self._identity = ModelIdentity(
            name=model,
            revision=_revision(self._model),
            precision="as published",
            dimensions=self._model.embedding_size,
        )
        self._tokenizer, self._window = _tokenizer_of(self._model)

    @property
    def identity(self) -> ModelIdentity:
        return self._identity

    def encode(self, texts: Sequence[str], kind: TextKind) -> Embeddings:
        """`(len(texts), D) float32`, L2-normalised rows.

        A text longer than the model's window is cut between tokens into several windows, which are
        pooled. A batch has texts of similar length, because fastembed pads it to its longest.
        """
        windows: list[str] = []
        owners: list[int] = []
        lengths: list[int] = []
        for owner, text in enumerate(texts):
            for window, length in self._windows(text, kind):
                windows.append(self._prefixes[kind] + window)
                owners.append(owner)
                lengths.append(length)
        order = np.argsort(lengths, kind="stable")
        rows = np.empty((len(windows), self._identity.dimensions), dtype=np.float32)
        embed = self._model.query_embed if kind == "query" else self._model.passage_embed
        for start in range(0, len(order), _BATCH_ROWS):
            batch = order[start : start + _BATCH_ROWS]
            rows[batch] = np.stack(list(embed([windows[index] for index in batch])))
        if self._tokenizer is not None:  # without a tokenizer, lengths are not tokens
            self._count_tokens(sum(lengths))
        return pool_windows(rows, owners, lengths, len(texts))

    def _windows(self, text: str, kind: TextKind) -> list[tuple[str, int]]:
        """The windows of `text`, each with its number of tokens."""
        if self._tokenizer is None:
            return [(text, 1)]
        prefix = self._tokenizer.encode(self._prefixes[kind], add_special_tokens=False)
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        parts = split(len(encoding.ids), self._window - len(prefix.ids))
        if len(parts) == 1:
            return [(text, max(1, len(encoding.ids)))]
        return [
            (text[encoding.offsets[start][0] : encoding.offsets[end - 1][1]], end - start)
            for start, end in parts
        ]


def prefixes(model: str) -> tuple[str, str]:
    """The prefixes for a query and for a passage."""
    return _PREFIXES.get(model.lower(), ("", ""))


def load(model: str, cache_dir: Path, threads: int, **options: Any) -> TextEmbedding:
    """The model, downloaded if `cache_dir` lacks it. Raises BadSetting, ModelUnavailable."""
    return hub.load(TextEmbedding, "MEMEX_EMBEDDING_MODEL", model, cache_dir, threads, **options)


def _tokenizer_of(model: TextEmbedding) -> tuple[Tokenizer | None, int]:
    """A copy of the model's tokenizer without truncation, and the number of tokens in a window.

    (None, 0) for models without a tokenizer (static embeddings), which read texts of any length.
    """
    tokenizer = getattr(model.model, "tokenizer", None)
    if tokenizer is None or tokenizer.truncation is None:
        return None, 0
    window = tokenizer.truncation["max_length"] - tokenizer.num_special_tokens_to_add(False)
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    # At each edge, a part cut out of a text can have one token more than it had within the text.
    return copy, window - 2


def _revision(model: TextEmbedding) -> str:
    """The commit of the hub's snapshot, which is the name of its folder."""
    return Path(getattr(model.model, "_model_dir", "unknown")).name
