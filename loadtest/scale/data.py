"""Any number of synthetic memories, identical for identical plans, and searches that fit them.

Vectors lie around centres of unequal weight. Their variance falls off like that of the principal
components of an encoder's output. A random rotation makes dimensions vary alike, as an encoder's
do, which matters for signs but not for distances. A content's words are partly from its cluster's
topic, partly any words, with natural frequencies (Zipf), and partly stop words. Rows are in the
order of time, with those of all scopes mixed, as a service would have written them.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from deployments.domain.embeddings import Embeddings

VERSION = 2  # increase it if the memories of a plan change
DIMENSIONS = 384
BATCH = 5_000
USER = "user"  # the only user of each agent
SCOPES = ("large", "medium", "small")

_CLUSTERS = 2_000
_SPREAD = 0.9  # the length of a vector's noise; its centre has length 1
_QUERY_SPREAD = 0.5  # the length of the noise between a query and its memory
_FALL_OFF = 0.4  # component n has the standard deviation n ** -0.4
_CLUSTER_FALL_OFF = 0.5  # the n-th largest cluster has n ** -0.5 times the largest one's rows
_VOCABULARY = 40_000
_ZIPF = 1.05
_TOPIC_WORDS = 60
_TOPIC_FROM = 200  # more frequent words are in no topic
_LENGTHS = (8, 30)
_QUERY_LENGTHS = (3, 8)
_STOP_SHARE, _TOPIC_SHARE = 0.35, 0.3
_QUERY_TOPIC_SHARE = 0.5
_QUERIES_PER_BATCH = 20
_STOP_WORDS = (
    "the", "a", "of", "and", "to", "in", "is", "was", "for", "on", "with", "that", "it", "as", "at",
    "by", "from", "this",
)  # fmt: skip
_DAYS = 730
_PROJECTS = 100
_RARE = 10_000  # one row in 10,000
_TYPES = ("episodic", "semantic", "procedural")
_TYPE_SHARES = (0.6, 0.3, 0.1)
_SOURCES = ("chat", "mail", "note", "call", "form")
_LARGE, _MEDIUM, _FIRST_SMALL = range(3)


@dataclass(frozen=True, slots=True)
class Plan:
    rows: int
    medium_rows: int
    small_agents: int
    small_rows: int
    seed: int
    until: datetime
    """The newest memory's time; the oldest is two years older."""

    @property
    def total(self) -> int:
        return self.rows + self.medium_rows + self.small_agents * self.small_rows

    @property
    def agents(self) -> list[tuple[str, int]]:
        """The two agents that may be large, and how many rows each has."""
        return [(agent_of(0), self.rows), (agent_of(1), self.medium_rows)]

    @property
    def batches(self) -> int:
        return -(-self.total // BATCH)


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive rows; each list has one entry for each row."""

    ids: list[UUID]
    owners: NDArray[np.int32]
    clusters: NDArray[np.int64]
    vectors: Embeddings
    contents: list[str]
    importances: list[float]
    memory_types: list[str]
    metadata: list[dict[str, Any]]
    created_at: list[datetime]


@dataclass(frozen=True, slots=True)
class Question:
    """One search: words and a vector near those of a memory of its agent."""

    owner: int
    text: str
    vector: Embeddings
    project: str
    team: str

    @property
    def agent_id(self) -> str:
        return agent_of(self.owner)


class World:
    """The memories and questions that a plan determines."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        rng = np.random.default_rng([plan.seed, 0])
        self._components = _components(self._rng(3))
        self._words = np.array(pseudo_words(rng, _VOCABULARY))
        self._centres = unit(self._normal(rng, _CLUSTERS))
        self._topics = rng.integers(_TOPIC_FROM, _VOCABULARY, (_CLUSTERS, _TOPIC_WORDS))
        self._cluster_shares = _cumulative(_CLUSTERS, _CLUSTER_FALL_OFF)
        self._word_shares = _cumulative(_VOCABULARY, _ZIPF)
        self._owners = rng.permutation(_owners(plan))

    def batch(self, number: int) -> Batch:
        plan = self.plan
        owners = self._owners[number * BATCH : (number + 1) * BATCH]
        count = len(owners)
        rng = self._rng(1, number)
        clusters = np.searchsorted(self._cluster_shares, rng.random(count))
        vectors = unit(self._centres[clusters] + _SPREAD * self._normal(rng, count))
        steps = (number * BATCH + np.arange(count) + rng.random(count)) / plan.total
        ages_us = ((1 - steps) * _DAYS * 86_400_000_000).astype(np.int64)
        created_at = [plan.until - timedelta(microseconds=int(age)) for age in ages_us]
        projects, sources = rng.integers(_PROJECTS, size=count), rng.integers(5, size=count)
        is_rare = rng.integers(_RARE, size=count) == 0
        return Batch(
            ids=_ids(rng, created_at),
            owners=owners,
            clusters=clusters,
            vectors=vectors,
            contents=self._texts(rng, clusters, _LENGTHS, _STOP_SHARE, _TOPIC_SHARE),
            importances=[float(n) / 10 for n in rng.integers(21, size=count)],
            memory_types=[_TYPES[n] for n in rng.choice(3, size=count, p=_TYPE_SHARES)],
            metadata=[
                {"project": f"p{project}", "team": team_of(cluster), "source": _SOURCES[source]}
                | ({"rare": True} if rare else {})
                for project, cluster, source, rare in zip(
                    projects, clusters, sources, is_rare, strict=True
                )
            ],
            created_at=created_at,
        )

    def questions(self, scope: str, count: int) -> list[Question]:
        """Questions for one of SCOPES; `small` is many agents. A lower `count` gives the first."""
        rng = self._rng(2, SCOPES.index(scope))
        questions: list[Question] = []
        while len(questions) < count:
            batch = self.batch(int(rng.integers(self.plan.batches)))
            rows = np.flatnonzero(_is_of(batch.owners, scope))
            questions += self._questions(rng, batch, rng.permutation(rows)[:_QUERIES_PER_BATCH])
        return questions[:count]

    def _questions(
        self, rng: np.random.Generator, batch: Batch, rows: NDArray[np.int64]
    ) -> Iterator[Question]:
        clusters = batch.clusters[rows]
        vectors = unit(batch.vectors[rows] + _QUERY_SPREAD * self._normal(rng, len(rows)))
        texts = self._texts(rng, clusters, _QUERY_LENGTHS, 0.0, _QUERY_TOPIC_SHARE)
        for row, text, vector in zip(rows, texts, vectors, strict=True):
            project, team = rng.integers(_PROJECTS), rng.integers(_CLUSTERS)
            owner = int(batch.owners[row])
            yield Question(owner, text, vector, f"p{project}", team_of(int(team)))

    def _texts(
        self,
        rng: np.random.Generator,
        clusters: NDArray[np.int64],
        lengths: tuple[int, int],
        stop_share: float,
        topic_share: float,
    ) -> list[str]:
        shape = (len(clusters), lengths[1])
        kinds = rng.random(shape)
        anywhere = self._words[np.searchsorted(self._word_shares, rng.random(shape))]
        places = rng.integers(_TOPIC_WORDS, size=shape)
        topical = self._words[self._topics[clusters[:, None], places]]
        stops = np.array(_STOP_WORDS)[rng.integers(len(_STOP_WORDS), size=shape)]
        words = np.where(
            kinds < stop_share,
            stops,
            np.where(kinds < stop_share + topic_share, topical, anywhere),
        ).tolist()
        counts = rng.integers(lengths[0], lengths[1] + 1, size=len(clusters))
        return [
            f"{' '.join(row[:length]).capitalize()}."
            for row, length in zip(words, counts, strict=True)
        ]

    def _normal(self, rng: np.random.Generator, count: int) -> Embeddings:
        """Random vectors, [count, DIMENSIONS], of length 1 on average."""
        return rng.standard_normal((count, DIMENSIONS), dtype=np.float32) @ self._components

    def _rng(self, *numbers: int) -> np.random.Generator:
        return np.random.default_rng([self.plan.seed, *numbers])


def agent_of(owner: int) -> str:
    return ("large", "medium")[owner] if owner < _FIRST_SMALL else f"small-{owner - _FIRST_SMALL}"


def team_of(cluster: int) -> str:
    """The cluster's team; each team has one cluster in a hundred. A filter by another team than
    that of the query's neighbours excludes all of them."""
    return f"t{cluster % 100}"


def unit(vectors: Embeddings) -> Embeddings:
    lengths: Embeddings = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / lengths


def pseudo_words(rng: np.random.Generator, count: int) -> list[str]:
    """Distinct pronounceable words; the first, which are the most frequent, are short."""
    onsets = (
        "b", "c", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "br", "ch", "cl",
        "dr", "fl", "gr", "pl", "pr", "sh", "st", "str", "th", "tr",
    )  # fmt: skip
    nuclei = ("a", "e", "i", "o", "u", "ai", "ea", "ou")
    codas = ("", "", "n", "r", "l", "s", "t", "m", "nd", "ck", "rt")
    syllables = ["".join(parts) for parts in itertools.product(onsets, nuclei, codas)]
    words: dict[str, None] = {}
    while len(words) < count:
        parts = 1 if len(words) < count // 40 else 2 if len(words) < count // 4 else 3
        words["".join(syllables[n] for n in rng.integers(len(syllables), size=parts))] = None
    return list(words)


def _owners(plan: Plan) -> NDArray[np.int32]:
    small = _FIRST_SMALL + np.arange(plan.small_agents)
    counts = [plan.rows, plan.medium_rows, *[plan.small_rows] * plan.small_agents]
    return np.repeat(np.array([_LARGE, _MEDIUM, *small], dtype=np.int32), counts)


def _is_of(owners: NDArray[np.int32], scope: str) -> NDArray[np.bool_]:
    kind = SCOPES.index(scope)
    return owners >= _FIRST_SMALL if kind == _FIRST_SMALL else owners == kind


def _components(rng: np.random.Generator) -> Embeddings:
    """[DIMENSIONS, DIMENSIONS]: orthogonal rows, each as long as its component's standard
    deviation; together of length 1."""
    deviations = np.arange(1, DIMENSIONS + 1, dtype=np.float32) ** -_FALL_OFF
    deviations /= np.linalg.norm(deviations)
    axes, _ = np.linalg.qr(rng.standard_normal((DIMENSIONS, DIMENSIONS)))
    components: Embeddings = deviations[:, None] * axes.astype(np.float32)
    return components


def _cumulative(count: int, exponent: float) -> NDArray[np.float64]:
    weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    shares = np.cumsum(weights / weights.sum())
    shares[-1] = 1.0
    return shares


def _ids(rng: np.random.Generator, created_at: list[datetime]) -> list[UUID]:
    """UUIDs of version 7, like those of deployments/runtime/ids.py, but drawn from `rng`."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    high = rng.integers(1 << 12, size=len(created_at))
    low = rng.integers(1 << 62, size=len(created_at))
    return [
        UUID(
            int=((at - epoch) // timedelta(milliseconds=1) << 80)
            | (0x7 << 76)
            | (int(a) << 64)
            | (0b10 << 62)
            | int(b)
        )
        for at, a, b in zip(created_at, high, low, strict=True)
    ]
