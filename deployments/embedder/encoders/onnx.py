"""Runs the default model in this process: tokenise, infer, pool."""

from collections.abc import Callable, Sequence

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from deployments.domain.embeddings import Embeddings, ModelIdentity, TextKind
from deployments.domain.errors import ModelUnavailable
from deployments.embedder.encoders.windows import batches_of_equal_length, pool_windows, split
from deployments.embedder.models.artifact import Artifact

_MAX_ROWS = 32
# In one inference: bounds its memory, and larger inferences are no faster.
_MAX_TOKENS = 4_096


class OnnxEncoder:
    """Implements the Encoder port with a graph of graph.py. Thread-safe."""

    def __init__(
        self,
        artifact: Artifact,
        threads: int,
        count_tokens: Callable[[int], None] = lambda _tokens: None,
    ) -> None:
        self._identity = artifact.identity
        self._count_tokens = count_tokens
        self._tokenizer = Tokenizer.from_file(str(artifact.tokenizer_path))
        # The packaged tokenizer truncates at 128 tokens and pads to them; `encode` makes windows.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._window = artifact.max_tokens - self._tokenizer.num_special_tokens_to_add(False)
        self._cls_id = _token_id(self._tokenizer, "[CLS]")
        self._sep_id = _token_id(self._tokenizer, "[SEP]")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Idle inference threads would spin on cores that other replicas need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(artifact.model_path), options, providers=["CPUExecutionProvider"]
        )

    @property
    def identity(self) -> ModelIdentity:
        return self._identity

    def encode(self, texts: Sequence[str], kind: TextKind) -> Embeddings:
        """`(len(texts), D) float32`, L2-normalised rows. This model ignores `kind`.

        A text with more tokens than the model's window is embedded in several windows and pooled.
        """
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        windows: list[list[int]] = []
        owners: list[int] = []
        for owner, encoding in enumerate(encodings):
            for start, end in split(len(encoding.ids), self._window):
                windows.append([self._cls_id, *encoding.ids[start:end], self._sep_id])
                owners.append(owner)
        lengths = [len(window) for window in windows]
        rows = np.empty((len(windows), self._identity.dimensions), dtype=np.float32)
        for batch in batches_of_equal_length(lengths, _MAX_ROWS, _MAX_TOKENS):
            input_ids = np.array([windows[index] for index in batch], dtype=np.int32)
            (rows[batch],) = self._session.run(None, {"input_ids": input_ids})
        self._count_tokens(sum(lengths))
        if len(windows) == len(texts):
            return rows
        return pool_windows(rows, owners, lengths, len(texts))


def _token_id(tokenizer: Tokenizer, name: str) -> int:
    token_id: int | None = tokenizer.token_to_id(name)
    if token_id is None:
        raise ModelUnavailable(f"the tokenizer has no {name} token")
    return token_id
