import random
import unicodedata
from typing import get_args

import pytest

from deployments.analyzer import Analyzer, Language, stopwords

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
        ("ERR_4032 on 3.11.7", ["err_4032", "err", "4032", "3.11.7", "3", "11", "7"]),
        ("room 42, $1,000,000", ["room", "42", "1000000"]),
        ("Caroline's and O'Brien's, isn't it", ["carolin", "brien"]),
        ("Caroline’s", ["carolin"]),
        ("Cafés naïve Straße ﬁre", ["cafe", "naiv", "strass", "fire"]),
        ("ΟΔΟΣ οδός", ["οδοσ", "οδοσ"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("한국어를", ["한국어를"]),
        ("北京烤鸭 好", ["北京", "京烤", "烤鸭", "好"]),
        ("東京タワーRay", ["東京", "京タ", "タワ", "ワー", "ray"]),
        ("a.. -- // '' \t\n 🎉", []),
        ("who are you", []),
        ("", []),
        ("iPhone YouTube", ["iphon", "phone", "youtub", "tube"]),
        ("URLs and APIs", ["url", "api"]),
    ],
)
def test_english_terms(text: str, terms: list[str]) -> None:
    assert ENGLISH.terms(text) == terms


def test_composed_and_decomposed_letters_give_the_same_terms() -> None:
    for word in ("Café", "Åse", "Ελλάδα", "Hà Nội"):
        forms = {tuple(ENGLISH.terms(unicodedata.normalize(f, word))) for f in ("NFC", "NFD")}
        assert len(forms) == 1


@pytest.mark.parametrize(
    "word", ["iPhone", "YouTube", "OneDrive", "MacBooks", "HTTPServers", "IDs"]
)
def test_camel_case_names_share_terms_with_their_lower_case(word: str) -> None:
    assert set(ENGLISH.terms(word.lower())) & set(ENGLISH.terms(word))


def test_long_runs_of_combining_marks_are_cut_before_normalisation() -> None:
    """Normalisation sorts them, which takes quadratic time."""
    (term,) = ENGLISH.terms("क" + "\u0301\u0316" * 4_000)
    assert len(term) == 17


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
    characters = "abcXYZ019 _-./'\"\\:@#,;()áßж中日ー한ह्ー𝒳🎉\u200d\u0301\n"
    for _ in range(500):
        text = "".join(random.choices(characters, k=random.randint(0, 60)))
        terms = ENGLISH.terms(text)
        assert ENGLISH.terms(text) == terms
        assert all(terms)
        assert ENGLISH.terms(f"{text}\n.\n{text}") == terms * 2
