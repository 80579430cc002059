"""Words of many languages and notations: a query finds the memory that has them, before others."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from deployments.store.lexical.lexicon import Lexicon
from deployments.store.settings import SearchSettings

LEXICON = Lexicon(SearchSettings())
QUESTIONS = json.loads((Path(__file__).parents[4] / "data" / "questions.json").read_text("utf-8"))


def bm25s(query: str, contents: Sequence[str]) -> list[float]:
    """The BM25 of each content, as the database computes it."""
    stored = [LEXICON.index("agent", "user", content) for content in contents]
    frequencies = Counter(key for entry in stored for key in entry.keys)
    weights = LEXICON.query("agent", "user", query).weights(frequencies)
    of_query = dict(zip(weights.indices(), weights.values(), strict=True))
    return [
        sum(
            of_query.get(dimension, 0.0) * weight
            for dimension, weight in zip(
                entry.weights.indices(), entry.weights.values(), strict=True
            )
        )
        for entry in stored
    ]


def rank(query: str, contents: Sequence[str], relevant: int) -> int | None:
    """From 1, after all that score the same; None if the relevant content has no word of it."""
    scores = bm25s(query, contents)
    if scores[relevant] == 0:
        return None
    return sum(score >= scores[relevant] - 1e-9 for score in scores)


@pytest.mark.parametrize(
    ("language", "least"), [("korean", 0.98), ("chinese", 0.9), ("japanese", 0.84)]
)
def test_questions_without_word_boundaries_find_their_sentence(language: str, least: float) -> None:
    memories, questions = QUESTIONS[language]["memories"], QUESTIONS[language]["questions"]
    ranks = [rank(question, memories, relevant) for question, relevant in questions]
    assert sum(1 / found for found in ranks if found is not None) / len(ranks) >= least
    assert None not in ranks


KINDS = {
    "emoji": (
        [
            "Mara reacted with ❤️ to the draft.",
            "Reception: ☎️ extension twelve.",
            "Ben sent 👍🏽 for the plan",
            "The 👨\u200d👩\u200d👧 visits on Sunday",
            "Flight to 🇳🇴 in May",
            "Trip to 🇸🇪 in June",
            "Step 1️⃣ is to unplug it",
            "Step 2️⃣ is to plug it in",
            "Mood: ❤️\u200d🔥 today",
            "The 🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f hills",
            "She is 👩🏾\u200d💻 by trade",
            "★★★ review of the inn",
        ],
        {
            "❤️": 0, "❤": 0, "☎": 1, "☎️": 1, "👍": 2, "👍🏽": 2, "👍🏻": 2,
            "👨\u200d👩\u200d👧": 3, "👧": 3, "🇳🇴": 4,
            "🇸🇪": 5, "1️⃣": 6, "2️⃣": 7, "❤️\u200d🔥": 8, "🔥": 8, "🏴": 9, "👩\u200d💻": 10,
            "💻": 10, "★": 11,
        },
    ),
    "names of languages": (
        [
            "Lena writes drivers in C#.",
            "Lena writes games in C++.",
            "Lena writes kernels in C.",
            "Lena writes compilers in F#.",
            "Lena writes services in .NET",
            "Lena writes servers in node.js",
            "Lena writes statistics in R",
            "Lena writes shaders with C++17 features",
            "Lena writes pages in ASP.NET",
        ],
        {
            "C#": 0, "c#": 0, "C♯": 0, "Ｃ＃": 0, "what is written in C#": 0, "C++": 1,
            "what is written in C++": 1,
            "C": 2, "c": 2, "F#": 3, ".NET": 4, "node.js": 5, "Node.js": 5, "R": 6, "c++17": 7,
            "ASP.NET": 8,
        },
    ),
    "versions": (
        [
            "Release v2.3.1 fixed login.",
            "Release v1.3.2 fixed logout.",
            "Release v2.3.10 broke export.",
            "Python 3.11 runs on the host.",
            "Python 3.12.4 runs on laptops.",
            "The printer is at 192.168.0.11 now",
            "The gateway is at 192.168.0.1 now",
            "Ticket ABC-123 is open",
            "Ticket ABC-124 is closed",
        ],
        {
            "v2.3.1": 0, "2.3.1": 0, "v1.3.2": 1, "2.3.10": 2, "3.11": 3, "python 3.12": 4,
            "3.12": 4,
            "192.168.0.11": 5, "192.168.0.1": 6, "abc-123": 7, "ABC-124": 8,
        },
    ),
    "signs": (
        [
            "Post it under #launch tomorrow",
            "The launch is tomorrow",
            "Ask @mara about the keys",
            "Mara has the keys",
            "Set $PATH before the build",
            "The path to the barn is wet",
            "Run git push --force with care",
            "Use force on the lid",
            "Copy .env to the server",
            "The env variable is set",
            "Write to mara@example.com for keys",
        ],
        {"#launch": 0, "@mara": 2, "$PATH": 4, "--force": 6, ".env": 8, "mara@example.com": 10},
    ),
    "names that are stop words": (
        [
            "We saw The Who in Leeds.",
            "Who left the door open?",
            'Mara reads "It" by Stephen King.',
            "It rains in Bergen.",
            "Mara moves to the US in May.",
            "They told us about the boat.",
            "Ask Will for the spare key.",
            "Will you bring the rope?",
            "Ben will fix the roof soon.",
            "Our IT department is closed.",
            "She works at the WHO in Geneva.",
            "Her line is to be or not to be.",
            "To do: buy milk.",
            "No Doubt play in June.",
            "Vitamin A is in carrots.",
        ],
        {
            "The Who": 0, "the who": 0, '"The Who"': 0, 'which band was "The Who"?': 0, "It": 2,
            "it": 2, '"It"': 2,
            "US": 4, "us": 4, "U.S.": 4, "Will": 6, "will": 6, 'who is "Will"?': 6,
            "Who is Will?": 6, "IT": 9,
            "WHO": 10, "to be or not to be": 11, "No": 13, "A": 14,
        },
    ),
    "one character": (
        ["我家的猫叫小白。", "他每天早上喝茶。", "「え」と書く", "カの音", "책을 샀다", "ดีมาก"],
        {"猫": 0, "茶": 1, "え": 2, "カ": 3, "ｶ": 3, "책": 4, "책은": 4, "ดี": 5},
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("contents", "query", "relevant"),
    [
        pytest.param(contents, query, relevant, id=f"{kind}: {query}")
        for kind, (contents, queries) in KINDS.items()
        for query, relevant in queries.items()
    ],
)
def test_query_finds_first_what_has_its_words(
    contents: list[str], query: str, relevant: int
) -> None:
    assert rank(query, contents, relevant) == 1
    terms = LEXICON.analyzer.of_query(query)
    matched = LEXICON.matched_terms(terms, contents[relevant])
    assert matched
    assert all("\t" not in term for term in matched)
