"""The result of a run, as a JSON document and as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from evaluation.benchmarks.dataset import Dataset, Question
from evaluation.figures import figures_of, mean_figures, percentiles
from evaluation.journal import Record

_OVERALL = "overall"
_KINDS = ("sessions", "turns")
_QUARTILES = (25.0, 50.0, 75.0)
_NAME_WIDTH = 18
_COLUMN_WIDTH = 24


def build_report(
    dataset: Dataset,
    records: Mapping[str, Record],
    ks: Sequence[int],
    run: Record,
    jobs: int,
) -> Record:
    """The result of a finished run, with questions in the data's order. `run` identifies it."""
    asked = [question for question in dataset.questions if question.asked]
    answerable = [question for question in asked if question.answerable]
    groups = {_OVERALL: answerable}
    for type_ in sorted({question.type for question in answerable}):
        groups[type_] = [question for question in answerable if question.type == type_]
    latencies = [records[question.id]["latency_ms"] for question in asked]
    p50, p99 = percentiles(latencies, (50, 99)) or (None, None)
    return {
        "benchmark": dataset.benchmark,
        "data": dataset.file,
        "run": run,
        "k": list(ks),
        "counts": _counts(dataset),
        "figures": {
            name: {kind: _figures(questions, records, kind, ks) for kind in _KINDS}
            for name, questions in groups.items()
        },
        "top_score": {
            "answerable": _top_scores(answerable, records),
            "abstention": _top_scores([q for q in asked if q.abstention], records),
        },
        "latency_ms": {"jobs": jobs, "p50": p50, "p99": p99},
        "requests_repeated": sum(records[question.id]["repeated"] for question in asked),
        "questions": [_question(question, records[question.id]) for question in asked],
    }


def _counts(dataset: Dataset) -> dict[str, int]:
    questions = dataset.questions
    answerable = [question for question in questions if question.answerable]
    used = [scope for scope in dataset.scopes if any(q.asked for q in scope.questions)]
    return {
        "questions": len(questions),
        "answerable": len(answerable),
        "abstention": sum(question.abstention for question in questions),
        "without_evidence": sum(not question.asked for question in questions),
        "without_marked_turns": sum(not question.turns for question in answerable),
        "scopes": len(used),
        "memories": sum(len(scope.memories) for scope in used),
        "split_turns": sum(scope.split_turns for scope in used),
        "empty_turns": sum(scope.empty_turns for scope in used),
        "late_evidence_sessions": sum(question.late_sessions for question in answerable),
        "questions_with_late_evidence": sum(q.late_sessions > 0 for q in answerable),
    }


def _figures(
    questions: Sequence[Question], records: Mapping[str, Record], kind: str, ks: Sequence[int]
) -> Record:
    """Means and intervals over the questions that have evidence of this kind."""
    ranks = [list(records[question.id][kind].values()) for question in questions]
    figures = [figures_of(question_ranks, ks) for question_ranks in ranks if question_ranks]
    means = mean_figures(figures) if figures else {}
    return {"questions": len(figures), **{name: asdict(mean) for name, mean in means.items()}}


def _top_scores(questions: Sequence[Question], records: Mapping[str, Record]) -> Record:
    scores = [records[question.id]["top_score"] for question in questions]
    quartiles = percentiles([score for score in scores if score is not None], _QUARTILES)
    return {"questions": len(questions), "quartiles": quartiles}


def _question(question: Question, record: Record) -> Record:
    kept = ("sessions", "turns", "top_score", "latency_ms")
    return {
        "id": question.id,
        "type": question.type,
        "abstention": question.abstention,
        **{name: record[name] for name in kept},
    }


def as_table(report: Record) -> str:
    """The report as text: percentages, with the 95 % interval in brackets."""
    run, counts = report["run"], report["counts"]
    search = ", ".join(f"{name}={value}" for name, value in run["search"].items())
    lines = [
        f"{report['benchmark']} ({report['data']}) on memex {run['service_version']} at "
        f"{run['url']}, {search or 'default settings'}",
        f"{counts['questions']} questions, {counts['memories']} memories in {counts['scopes']} "
        f"scopes ({counts['split_turns']} long turns split, {counts['empty_turns']} empty ones "
        "left out)",
        *_remarks(counts),
        *(line for name, group in report["figures"].items() for line in _group(name, group)),
        "",
        *_top_score_lines(report["top_score"]),
        _latency_line(report),
    ]
    return "\n".join(lines)


def _remarks(counts: Mapping[str, int]) -> list[str]:
    """What the figures leave out or suffer from, if anything."""
    remarks = {
        "abstention": "abstention questions, counted apart",
        "without_evidence": "questions name no usable evidence: not asked, not in the figures",
        "without_marked_turns": "questions have no marked turns: only in the sessions' figures",
        "late_evidence_sessions": "evidence sessions are dated after their question, which was "
        "asked as of the last session instead",
    }
    return [f"  {counts[name]} {remark}" for name, remark in remarks.items() if counts[name]]


def _group(name: str, group: Mapping[str, Record]) -> list[str]:
    heads = [f"{kind} (n = {group[kind]['questions']})" for kind in _KINDS]
    lines = ["", _row(name, heads)]
    figures = [figure for figure in group["sessions"] if figure != "questions"]
    for figure in figures:
        label = f"recall {figure}" if "@" in figure and figure[0].islower() else figure
        lines.append(_row(f"  {label}", [_cell(group[kind].get(figure)) for kind in _KINDS]))
    return lines


def _row(name: str, cells: Sequence[str]) -> str:
    return name.ljust(_NAME_WIDTH + 8) + "".join(cell.rjust(_COLUMN_WIDTH) for cell in cells)


def _cell(figure: Mapping[str, float] | None) -> str:
    if figure is None:
        return "-"
    mean, low, high = (f"{100 * figure[name]:5.1f}" for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def _top_score_lines(top_score: Mapping[str, Record]) -> list[str]:
    lines = []
    for name, scores in top_score.items():
        if scores["quartiles"]:
            low, median, high = (f"{score:.4f}" for score in scores["quartiles"])
            spread = f"quartiles {low}, {median}, {high}"
            lines.append(f"top score of {name} questions ({scores['questions']}): {spread}")
    return lines


def _latency_line(report: Record) -> str:
    latency = report["latency_ms"]
    times = ", ".join(
        f"{name} {latency[name]:.0f} ms" for name in ("p50", "p99") if latency[name] is not None
    )
    repeated = report["requests_repeated"]
    return f"search latency with {latency['jobs']} jobs: {times}; {repeated} requests repeated"
