"""`python -m evaluation`: parses arguments, runs a benchmark, prints each error as one line."""

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.benchmarks.dataset import Dataset
from evaluation.benchmarks.formats import read_dataset
from evaluation.client import Service
from evaluation.errors import EvaluationError, ServiceError
from evaluation.journal import Journal, Record, key_of
from evaluation.report import as_table, build_report
from evaluation.run import TOP_K, evaluate, log

_RESULTS = Path(__file__).parent / "results"
_PROTOCOL = 2  # identifies runs: increase it if the stored memories or the queries change
_INTERRUPTED = 130
_ABOUT = """\
Measures how well a running memex service finds the evidence of a public benchmark, using only its
REST API. For each scope of the benchmark, stores the memories under an agent of their own, asks the
questions, and deletes the memories."""
_NOTES = """\
FILE is LongMemEval's or LoCoMo's as published: JSON or JSON lines, plain or gzipped; the content
shows which. To continue a stopped run, give the same command again.
Rate limits make it slow: start the service with MEMEX_RATE_LIMIT_WRITES_PER_MINUTE=0 and
MEMEX_RATE_LIMIT_SEARCHES_PER_MINUTE=0. Searches are timed while work on JOBS - 1 other scopes
runs; use --jobs 1 for undisturbed latencies."""


@dataclass(frozen=True, slots=True)
class _Run:
    """The identity and the files of one configuration."""

    identity: Record
    key: str
    result: Path
    journal: Path


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0, 1 after an error, 130 after Ctrl-C."""
    arguments = _parser().parse_args(argv)
    try:
        dataset = read_dataset(arguments.data).limited(arguments.limit)
        asyncio.run(_main(arguments, dataset))
    except (EvaluationError, OSError) as error:
        log(str(error))
        return 1
    except KeyboardInterrupt:
        log(f"stopped; run {_same_command(arguments)} to continue with the remaining questions")
        return _INTERRUPTED
    return 0


async def _main(arguments: argparse.Namespace, dataset: Dataset) -> None:
    search = _search_settings(arguments)
    async with Service(arguments.url.rstrip("/"), log) as service:
        run = _identify(arguments, dataset, search, service.url, await service.version())
        with Journal(run.journal, run.identity, arguments.fresh) as journal:
            total = sum(question.asked for question in dataset.questions)
            done = len(journal.records)
            if done == total:
                log(f"all questions are done, see {run.journal}; --fresh asks them again")
            elif done:
                log(f"continuing: {done} of {total} questions are done, see {run.journal}")
            try:
                await evaluate(dataset, search, run.key, arguments.jobs, service, journal)
            except ServiceError as error:
                done = len(journal.records)
                raise ServiceError(
                    f"{error}; run {_same_command(arguments)} to continue "
                    f"({done} of {total} questions are done)"
                ) from None
            report = build_report(
                dataset, journal.records, arguments.k, run.identity, arguments.jobs
            )
    _write(run.result, report)
    print(as_table(report))
    print(f"written to {run.result}")


def _identify(
    arguments: argparse.Namespace, dataset: Dataset, search: dict[str, Any], url: str, version: str
) -> _Run:
    """The run's identity, which is all that the ranks depend on (not K and JOBS), and its files."""
    identity: Record = {
        "protocol": _PROTOCOL,
        "data_sha256": dataset.sha256,
        "url": url,
        "service_version": version,
        "search": search,
        "top_k": TOP_K,
        "limit": arguments.limit,
    }
    key = key_of(identity)
    out: Path = arguments.out
    if out.suffix != ".json":
        name = f"{dataset.file.split('.')[0]}-{key}"
        return _Run(identity, key, out / f"{name}.json", out / f"{name}.jsonl")
    return _Run(identity, key, out, out.with_name(f"{out.stem}-{key}.jsonl"))


def _same_command(arguments: argparse.Namespace) -> str:
    return "the same command" + (" without --fresh" if arguments.fresh else "")


def _search_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings that the arguments name; the service has defaults for the others."""
    names = ("mode", "alpha", "lexical_weight", "fusion", "diversity")
    settings = {name: getattr(arguments, name) for name in names}
    return {name: value for name, value in settings.items() if value is not None}


def _write(path: Path, report: Record) -> None:
    """Write the report completely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m evaluation",
        description=_ABOUT,
        epilog=_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("data", metavar="FILE", type=Path, help="the benchmark's file")
    add("--k", type=_ranks, default=(5, 10), help="ranks at which to compute recall (5,10)")
    add("--mode", choices=("hybrid", "semantic", "lexical"), help="search mode")
    add(
        "--alpha",
        type=float,
        default=1.0,
        help="weight of similarity against recency, 0 to 1 (1, because evidence is of any age)",
    )
    add("--lexical-weight", type=float, help="weight of lexical in a hybrid search")
    add("--fusion", help="how a hybrid search combines cosine and lexical")
    add("--diversity", type=float, help="how far near-copies move down, 0 to 1")
    add("--jobs", type=_count, default=4, help="number of scopes at a time (4)")
    add("--limit", type=_count, help="ask only the file's first LIMIT questions")
    add(
        "--out",
        type=Path,
        default=_RESULTS,
        help="result file (.json), or a folder for it (evaluation/results)",
    )
    add("--url", default="http://127.0.0.1:8000", help="URL of the service (http://127.0.0.1:8000)")
    add("--fresh", action="store_true", help="discard the journal and ask all questions again")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number of 1 or more")
    return int(text)


def _ranks(text: str) -> tuple[int, ...]:
    ranks = tuple(sorted({_count(part.strip()) for part in text.split(",")}))
    if ranks[-1] > TOP_K:
        raise argparse.ArgumentTypeError(f"must be at most {TOP_K}, the hits of a search")
    return ranks
