import random
from typing import get_args

import pytest

from deployments.analyzer import Analyzer, Language, shown, stopwords

ENGLISH = Analyzer("english")


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("The dogs were running.", ["dog", "run"]),
        ("max_ongoing_requests", ["max_ongoing_requests", "max", "ongo", "request"]),
        ("HTTPServer", ["httpserver", "http", "server"]),
        ("parseHTMLText", ["parsehtmltext", "pars", "html", "text"]),
        ("src/app/main.py", ["src/app/main.py", "src", "app", "main", "py"]),
        (r"C:\Temp\log.txt", [r"c:\temp\log.txt", "c", "temp", "log", "txt"]),
        ("ERR_4032 on 3.11.7", ["err_4032", "err", "4032", "3.11.7", "3.11", "3", "11", "7"]),
        ("v2.3.1", ["v2.3.1", "2.3.1", "2.3", "v2", "v", "2", "3", "1"]),
        ("python-3.11", ["python-3.11", "3.11", "python", "3", "11"]),
        ("1.2.3.4.5.6", ["1.2.3.4.5.6", "1", "2", "3", "4", "5", "6"]),
        ("C C# C++ F# A* O- i++;", ["c", "c#", "c++", "f#", "a*", "o-", "i++"]),
        ("C++17 C#/.NET F#7", ["c++17", "c++", "17", "c#/.net", "c#", "net", "f#7", "f#", "7"]),
        ("1*2 x-z b+c=e ##x *x*", ["1", "2", "x-z", "x", "z", "b+c", "b", "c", "e", "x", "x"]),
        ("Notepad++ Disney+", ["notepad++", "notepad", "disney+", "disney"]),
        (".NET node.js ... so", [".net", "net", "node.js", "node", "js"]),
        ("#launch, (@mara) $PATH", ["#launch", "launch", "@mara", "mara", "$path", "path"]),
        ("mara@x.org --run it", ["mara@x.org", "mara", "x", "org", "--run", "run"]),
        ("U.S.A., e.g. 5 p.m.", ["usa", "eg", "5", "pm"]),
        ("room 42, $1,000,000", ["room", "42", "1000000"]),
        ("Caroline's and O'Brien's, isn't it", ["carolin", "brien"]),
        ("Caroline’s", ["carolin"]),
        ("Cafés naïve Straße ﬁre", ["cafe", "naiv", "strass", "fire"]),
        ("ΟΔΟΣ οδός", ["οδοσ", "οδοσ"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("한국어를 KTX로 책", ["한국", "국어", "어를", "ktx", "로", "책"]),
        ("北京烤鸭 好", ["北京", "京烤", "烤鸭", "好"]),
        ("東京タワーRay", ["東京", "京タ", "タワ", "ワー", "ray"]),
        ("a.. -- // '' \t\n │ ─", []),
        ("❤️ ☎ 🎉🎉", ["❤", "☎", "🎉", "🎉"]),
        ("👍🏽 👩🏾‍💻", ["👍🏽", "👍", "👩🏾‍💻", "👩", "💻"]),
        ("🇳🇴🇸🇪 1️⃣ #️⃣", ["🇳🇴", "🇸🇪", "1⃣", "1", "#⃣", "#"]),
        ("ℹ️ Acme™ 5€ ≥ ★", ["ℹ", "acm", "™", "5", "€", "≥", "★"]),
        ("who are you", []),
        ("", []),
        ("iPhone YouTube", ["iphon", "phone", "youtub", "tube"]),
        ("URLs and APIs", ["url", "api"]),
    ],
)
def test_english_terms(text: str, terms: list[str]) -> None:
    assert ENGLISH.terms(text) == terms


@pytest.mark.parametrize(
    "word", ["iPhone", "YouTube", "OneDrive", "MacBooks", "HTTPServers", "IDs"]
)
def test_camel_case_names_share_terms_with_their_lower_case(word: str) -> None:
    assert set(ENGLISH.terms(word.lower())) & set(ENGLISH.terms(word))


def test_languages_stem_and_stop_different_words() -> None:
    assert Analyzer("german").terms("Die Häuser und der Garten") == ["haus", "gart"]
    assert Analyzer("french").terms("l'eau n'est pas ici") == ["eau", "ici"]
    assert Analyzer("none").terms("The Dogs were") == ["the", "dogs", "were"]


@pytest.mark.parametrize("language", get_args(Language))
def test_every_language_gives_terms(language: Language) -> None:
    assert Analyzer(language).terms("Oslo 2026") in (["oslo", "2026"], ["osl", "2026"])
    assert bool(stopwords(language)) == (language != "none")


def test_numbers_are_never_stop_words() -> None:
    for language in get_args(Language):
        assert not {word for word in stopwords(language) if word.isnumeric()}


def test_text_of_two_sentences_has_the_terms_of_both() -> None:
    """So that a search for any stored sentence finds it."""
    random.seed(3)
    characters = (
        "abcXYZ019 _-./'\"\\:@#+*,;()áßж中日ー한ह्ー𝒳🎉❤️👍🏽🇳🇴1️⃣\u200d\u00ad\u0301\n\U000e0067"
        "شَـשׁ״ё́ıİ٣"
    )
    for _ in range(2_000):
        text = "".join(random.choices(characters, k=random.randint(0, 60)))
        terms = ENGLISH.terms(text)
        assert ENGLISH.terms(text) == terms
        assert all(terms)
        assert ENGLISH.terms(f"{text}\n.\n{text}") == terms * 2


def test_ascii_text_has_the_same_terms_beside_other_text() -> None:
    """Two patterns find the chunks of a token; one is for ASCII only."""
    random.seed(4)
    for _ in range(2_000):
        text = "".join(random.choices("aB1._-/:@#+&$*,=", k=random.randint(1, 12)))
        assert ENGLISH.terms(f"{text},é") == [*ENGLISH.terms(text), "e"]


@pytest.mark.parametrize(
    "text",
    ["The Who", "to be or not to be", "Not now", 'Read "It"', "물을 주는 꽃", "猫と茶", "C# 👍🏽"],
)
def test_memory_has_each_word_of_the_query_that_repeats_it(text: str) -> None:
    memory = ENGLISH.of_memory(text)
    stored = {*memory.terms, *memory.more}
    asked = ENGLISH.of_query(text)
    assert {shown(term) for term in asked if term in stored} == set(map(shown, asked))
