"""Latency and recall of searches, by the store's own code without Ray.

The exact hits come from the same store, with the setting that scores each scope whole, so that both
use one definition of the score. They are kept in `exact.json` of the data folder.
"""

import contextlib
import hashlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from tqdm import tqdm

from deployments.domain.memories import MemoryType
from deployments.domain.metadata_filters import parse_filter
from deployments.domain.ranking import Ranking
from deployments.domain.search import SearchFilters, SearchQuery
from deployments.store.postgres.pool import Pool
from deployments.store.settings import StoreSettings
from deployments.store.store import PostgresStore, build_store
from loadtest.scale.data import SCOPES, USER, Plan, Question, World
from loadtest.scale.figures import Latency, recall

TOP_K = 10
RANKINGS = {
    "cosine": Ranking(mode="semantic", alpha=1.0),
    "semantic": Ranking(mode="semantic"),
    "hybrid": Ranking(),
}
FILTERS = ("none", "project 1%", "team 1%", "rare 0.01%", "type 10%", "90 days", "1 day")
_WARM_UP = 30
_WARM_UP_SEARCHES, _WARM_UP_S = 300, 15.0
_READ_ALL = """
select count(content) from memories
where agent_id = any($1::text[]) and user_id = $2 and superseded_by is null
"""
_READ_SKETCHES = """
set enable_seqscan = off;
select count(signs) from memory_sketches where created_at > '-infinity';
reset enable_seqscan
"""
_MIN_SEARCHES = 10
_EXACT_TOP = 3 * TOP_K  # includes ties with the tenth
_EXACT_TIMEOUT_S = 600.0
_EXACT_SETTINGS = "work_mem=1GB"


@dataclass(frozen=True, slots=True)
class Case:
    scope: str
    ranking: str
    filters: str

    def __str__(self) -> str:
        return f"{self.scope}, {self.ranking}, {self.filters}"

    def query(self, question: Question, plan: Plan, **options: Any) -> SearchQuery:
        return SearchQuery(
            question.agent_id,
            USER,
            question.text,
            ranking=RANKINGS[self.ranking],
            filters=_filters(self.filters, question, plan),
            **({"top_k": TOP_K} | options),
        )


@dataclass(frozen=True, slots=True)
class Measured:
    case: Case
    latency: Latency
    cpu_ms: float | None
    """CPU time of the connection's server process for one search, on average; other programs
    affect it less than the latency. None if the connection was replaced meanwhile."""
    recall: float | None
    """The mean over the questions that have exact hits."""
    worst_recall: float | None
    recalled: int
    """The number of questions that recall is the mean of."""
    too_few: int
    """How many of these questions got fewer hits than exist."""


def _filters(name: str, question: Question, plan: Plan) -> SearchFilters:
    """`project` is spread over all clusters; `team` has its own, usually far from the query."""
    return {
        "none": SearchFilters(),
        "project 1%": SearchFilters(metadata=parse_filter({"project": question.project})),
        "team 1%": SearchFilters(metadata=parse_filter({"team": question.team})),
        "rare 0.01%": SearchFilters(metadata=parse_filter({"rare": True})),
        "type 10%": SearchFilters(memory_type=MemoryType.PROCEDURAL),
        "90 days": SearchFilters(created_after=plan.until - timedelta(days=90)),
        "1 day": SearchFilters(created_after=plan.until - timedelta(days=1)),
    }[name]


def cases(plan: Plan, filters: Sequence[str], rankings: Sequence[str]) -> list[Case]:
    sizes = {"large": plan.rows, "medium": plan.medium_rows, "small": plan.small_agents}
    scopes = [scope for scope in SCOPES if sizes[scope]]
    return [Case(*names) for names in itertools.product(scopes, rankings, filters)]


class Measurement:
    """Measures searches of one filled database."""

    def __init__(
        self, dsn: str, root: Path, world: World, generation: int, settings: StoreSettings
    ) -> None:
        self._dsn = dsn
        self._world = world
        self._plan = world.plan
        self._generation = generation
        self._settings = settings
        self._exact = _ExactHits(root / "exact.json")

    async def run(
        self, cases: Sequence[Case], count: int, recalled: int, case_s: float
    ) -> list[Measured]:
        scopes = dict.fromkeys(case.scope for case in cases)
        questions = {scope: self._world.questions(scope, _WARM_UP + count) for scope in scopes}
        results = []
        with tqdm(total=len(cases), unit="case", leave=False) as bar:
            async with _store(self._dsn, self._settings) as (store, pool):
                for scope in scopes:
                    bar.set_description(f"warm up, {scope}")
                    await self._warm_up(store, pool, scope, _WARM_UP + count)
                for case in cases:
                    bar.set_description(str(case))
                    results.append(
                        await self._measure(
                            store, pool, case, questions[case.scope], recalled, case_s
                        )
                    )
                    bar.update()
        return results

    async def _warm_up(self, store: PostgresStore, pool: Pool, scope: str, measured: int) -> None:
        """Fill Postgres's buffers as if it had run for a while; it has just started. Uses other
        questions than the `measured` ones."""
        questions = self._world.questions(scope, measured + _WARM_UP_SEARCHES)[measured:]
        agents = list({question.agent_id for question in questions})
        async with pool.acquire() as connection:
            await connection.execute(_READ_ALL, agents, USER)
            await connection.execute(_READ_SKETCHES)
        for ranking in ("cosine", "hybrid"):  # they read different indexes: of vectors, of terms
            await self._times(store, Case(scope, ranking, "none"), questions, _WARM_UP_S, 1)

    async def _measure(
        self,
        store: PostgresStore,
        pool: Pool,
        case: Case,
        questions: Sequence[Question],
        recalled: int,
        case_s: float,
    ) -> Measured:
        await self._times(store, case, questions[:_WARM_UP], case_s / 4, 1)
        pid = await _pid(pool)
        cpu_before_ms = _cpu_ms(pid)
        times = await self._times(store, case, questions[_WARM_UP:], case_s, _MIN_SEARCHES)
        cpu_ms = None
        if await _pid(pool) == pid:  # the pool replaces it after many statements
            cpu_ms = (_cpu_ms(pid) - cpu_before_ms) / len(times)
        shares, too_few = [], 0
        for question, best in await self._best(case, questions[_WARM_UP:][:recalled]):
            # With the `as_of` of the exact search, so that ages are equal and its hits stay valid.
            query = case.query(question, self._plan, as_of=self._plan.until)
            hits = await store.searches.search(query, question.vector, self._generation, None)
            too_few += len(hits) < min(TOP_K, len(best))
            share = recall([str(hit.id) for hit in hits], best, TOP_K)
            shares += [] if share is None else [share]
        return Measured(
            case,
            Latency.of(times),
            cpu_ms,
            sum(shares) / len(shares) if shares else None,
            min(shares, default=None),
            len(shares),
            too_few,
        )

    async def _times(
        self,
        store: PostgresStore,
        case: Case,
        questions: Sequence[Question],
        limit_s: float,
        min_searches: int,
    ) -> list[float]:
        """Times in ms of the searches within `limit_s`, but of `min_searches` at least."""
        times: list[float] = []
        first_started = time.perf_counter()
        for question in questions:
            query = case.query(question, self._plan)
            started = time.perf_counter()
            await store.searches.search(query, question.vector, self._generation, None)
            ended = time.perf_counter()
            times.append((ended - started) * 1_000)
            if ended - first_started > limit_s and len(times) >= min_searches:
                break
        return times

    async def _best(
        self, case: Case, questions: Sequence[Question]
    ) -> list[tuple[Question, list[tuple[str, float]]]]:
        answers = []
        changes = {"exact_search_rows": 1_000_000_000, "statement_timeout_s": _EXACT_TIMEOUT_S}
        settings = self._settings.model_copy(update=changes)
        async with _store(f"{self._dsn}&{_EXACT_SETTINGS}", settings) as (store, _pool):
            for question in tqdm(questions, "exact", leave=False):
                name = _name(case, question)
                if (best := self._exact.get(name)) is None:
                    query = case.query(
                        question, self._plan, as_of=self._plan.until, top_k=_EXACT_TOP
                    )
                    hits = await store.searches.search(
                        query, question.vector, self._generation, None
                    )
                    best = [(str(hit.id), hit.score or 0.0) for hit in hits]
                    self._exact.put(name, best)
                answers.append((question, best))
        self._exact.write()
        return answers


class _ExactHits:
    """Exact hits by the name of the search, kept in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._answers: dict[str, list[tuple[str, float]]] = {}
        if path.exists():
            for name, best in json.loads(path.read_text()).items():
                self._answers[name] = [(memory_id, score) for memory_id, score in best]

    def get(self, name: str) -> list[tuple[str, float]] | None:
        return self._answers.get(name)

    def put(self, name: str, best: list[tuple[str, float]]) -> None:
        self._answers[name] = best

    def write(self) -> None:
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(self._answers))
        new.rename(self._path)


def _name(case: Case, question: Question) -> str:
    """The search's name, from everything that its exact hits depend on."""
    inputs: Mapping[str, object] = {
        "case": str(case),
        "ranking": repr(RANKINGS[case.ranking]),
        "agent": question.agent_id,
        "text": question.text,
        "project": question.project,
        "team": question.team,
    }
    digest = hashlib.sha256(json.dumps(inputs).encode() + question.vector.tobytes())
    return f"{case} {digest.hexdigest()[:16]}"


@contextlib.asynccontextmanager
async def _store(dsn: str, settings: StoreSettings) -> AsyncIterator[tuple[PostgresStore, Pool]]:
    pool = Pool(dsn, settings)
    try:
        yield build_store(pool, settings), pool
    finally:
        await pool.close()


async def _pid(pool: Pool) -> int:
    """The server process of the pool's only connection."""
    async with pool.acquire() as connection:
        return int(connection.get_server_pid())


def _cpu_ms(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6
