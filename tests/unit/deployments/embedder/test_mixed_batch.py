import numpy as np

from deployments.domain.embeddings import Embeddings, TextKind, TextsOfKind
from deployments.embedder.mixed_batch import encode_calls


def test_each_kind_is_encoded_once_and_each_call_gets_its_rows() -> None:
    encoded: list[tuple[list[str], TextKind]] = []

    def encode(texts: list[str], kind: TextKind) -> Embeddings:
        encoded.append((texts, kind))
        signs = {"query": 1, "passage": -1}
        return np.array([[signs[kind] * float(text)] for text in texts], np.float32)

    first: list[TextsOfKind] = [(["1", "2"], "passage"), (["3"], "query")]
    second: list[TextsOfKind] = [(["4"], "query"), ([], "passage")]
    rows = encode_calls([first, [], second], encode, 1)
    assert encoded == [(["3", "4"], "query"), (["1", "2"], "passage")]
    assert [call.ravel().tolist() for call in rows] == [[-1, -2, 3], [], [4]]
    assert all(call.dtype == np.float32 for call in rows)


def test_kind_that_no_call_has_is_not_encoded() -> None:
    def encode(texts: list[str], kind: TextKind) -> Embeddings:
        assert kind == "query"
        return np.zeros((len(texts), 2), np.float32)

    (rows,) = encode_calls([[(["a"], "query")]], encode, 2)
    assert rows.shape == (1, 2)
