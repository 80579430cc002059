"""`python -m evaluation`: arguments, the order of things, and every error as one line."""

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
from evaluation.run import TOP_K, evaluate, say

_RESULTS = Path(__file__).parent / "results"
_PROTOCOL = 2  # counts changes of what is stored and asked: journals of others are left alone
_INTERRUPTED = 130
_ABOUT = """\
Measures how well a running memex service finds evidence, on a public benchmark and through the
REST API alone. Each scope of the benchmark is stored as memories of an agent of its own, asked,
and deleted again."""
_NOTES = """\
FILE is LongMemEval's or LoCoMo's as published: JSON or JSON lines, plain or gzipped; the content
tells which. A run that was stopped goes on where it was when the same command is given again.
Rate limits make it slow: start the service with MEMEX_RATE_LIMIT_WRITES_PER_MINUTE=0 and
MEMEX_RATE_LIMIT_SEARCHES_PER_MINUTE=0. Latencies are those of searches beside JOBS - 1 other
scopes' work; take --jobs 1 for undisturbed ones."""


@dataclass(frozen=True, slots=True)
class _Run:
    """One configuration's identity and files."""

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
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say(f"stopped; {_again(arguments)} goes on with the questions that are left")
        return _INTERRUPTED
    return 0


async def _main(arguments: argparse.Namespace, dataset: Dataset) -> None:
    search = _search_settings(arguments)
    async with Service(arguments.url.rstrip("/"), say) as service:
        run = _identify(arguments, dataset, search, service.url, await service.version())
        with Journal(run.journal, run.identity, arguments.fresh) as journal:
            asked = sum(question.asked for question in dataset.questions)
            done = len(journal.records)
            if done == asked:
                say(f"all questions were asked before ({run.journal}); --fresh asks them anew")
            elif done:
                say(f"going on: {done} of {asked} questions were asked before, see {run.journal}")
            try:
                await evaluate(dataset, search, run.key, arguments.jobs, service, journal)
            except ServiceError as error:
                done = len(journal.records)
                raise ServiceError(
                    f"{error}; {_again(arguments)} goes on ({done} of {asked} questions are done)"
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
    """What the answers depend on. K and JOBS are not among it: the ranks are the same."""
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


def _again(arguments: argparse.Namespace) -> str:
    return "the same command" + (" without --fresh" if arguments.fresh else "")


def _search_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Those that were given; the service has its own defaults for the others."""
    names = ("mode", "alpha", "lexical_weight", "fusion")
    given = {name: getattr(arguments, name) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def _write(path: Path, report: Record) -> None:
    """Whole or not at all."""
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
    add("--k", type=_ranks, default=(5, 10), help="recall is counted at these ranks (5,10)")
    add("--mode", choices=("hybrid", "semantic", "lexical"), help="how to search")
    add(
        "--alpha",
        type=float,
        default=1.0,
        help="weight of similarity against recency, 0 to 1 (1: the evidence is of any age)",
    )
    add("--lexical-weight", type=float, help="weight of the words in a hybrid search")
    add("--fusion", help="how a hybrid search joins its two rankings")
    add("--jobs", type=_count, default=4, help="scopes at a time (4)")
    add("--limit", type=_count, help="only the file's first questions, so many")
    add(
        "--out",
        type=Path,
        default=_RESULTS,
        help="result file (.json) or a folder for it (evaluation/results)",
    )
    add("--url", default="http://127.0.0.1:8000", help="the service (http://127.0.0.1:8000)")
    add("--fresh", action="store_true", help="ask all questions anew, whatever was done before")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a number of at least 1")
    return int(text)


def _ranks(text: str) -> tuple[int, ...]:
    ranks = tuple(sorted({_count(part.strip()) for part in text.split(",")}))
    if ranks[-1] > TOP_K:
        raise argparse.ArgumentTypeError(f"must be at most {TOP_K}, which a search brings")
    return ranks
