import unicodedata

import pytest

from deployments.analyzer import Analyzer
from deployments.analyzer.spelling import one_spelling

ENGLISH = Analyzer("english")


def test_composed_and_decomposed_letters_give_the_same_terms() -> None:
    for word in ("Café", "Åse", "Ελλάδα", "Hà Nội", "Йод", "أحمد", "한국어", "がぎ", "क़लम"):
        forms = {tuple(ENGLISH.terms(unicodedata.normalize(f, word))) for f in ("NFC", "NFD")}
        assert len(forms) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("so\u00adlar pa\u00adnel", "solar panel"),  # soft hyphens
        ("zero\u200bwidth, mo\u2060on, \ufeffsalad", "zerowidth, moon, salad"),
        ("می\u200cخواهم", "میخواهم"),
        ("ភាសា\u200bខ្មែរ", "ភាសាខ្មែរ"),
        ("葛\U000e0100飾", "葛飾"),  # an ideographic variation
        ("\u200eleft\u200f \u202eright\u202c", "left right"),
        ("❤\ufe0f ☎\ufe0e", "❤ ☎"),
        ("lone\u200djoiner a\U000e0067b", "lonejoiner ab"),
        ("كَتَبَ مُحَمَّدٌ", "كتب محمد"),
        ("العربيـــة", "العربية"),
        ("أحمد إلى آخر", "احمد الى اخر"),
        ("فارسی کتاب", "فارسي كتاب"),
        ("שָׁלוֹם", "שלום"),
        ("צה״ל צ׳יפס", "צהל ציפס"),
        ("צה\"ל צ'יפס", "צהל ציפס"),
        ("за́мок, ёлка, Всё", "замок, елка, Все"),
        ("İstanbul ISPARTA Iğdır", "istanbul ısparta IĞDIR"),
        ("ｆｕｌｌ　ｗｉｄｔｈ Ｃ＃ ｶﾀｶﾅ", "full width C# カタカナ"),
        ("ﬁnal ﬂoor №", "final floor No"),
        ("Łódź Søren Đà Nẵng þing Æsir Œuvre", "Lodz Soren Da Nang thing Aesir Oeuvre"),
        ("résumés naïveté", "resumes naivete"),
        ("e‑mail don´t C♯ ½", "e-mail don't C# 1/2"),
        ("٣٤٥ ३४५ １２３ ١٬٢٣٤٫٥", "345 345 123 1,234.5"),
        ("x² H₂O Ⅳ 𝐁𝐨𝐥𝐝", "x2 H2O IV Bold"),
    ],
)
def test_spellings_of_one_word_give_the_same_terms(one: str, other: str) -> None:
    terms = ENGLISH.terms(one)
    assert terms
    assert terms == ENGLISH.terms(other)


def test_letters_that_differ_stay_different() -> None:
    for one, other in (("й", "и"), ("क", "ख"), ("ב", "כ"), ("か", "が"), ("C#", "C"), ("☎", "☏")):
        assert ENGLISH.terms(one) != ENGLISH.terms(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("ANTALYALILARIN", "antalyalıların"), ("KIRMIZI", "kırmızı"), ("İZMİR", "izmir")],
)
def test_turkish_stems_follow_the_small_letters_of_turkish(one: str, other: str) -> None:
    turkish = Analyzer("turkish")
    assert turkish.terms(one) == turkish.terms(other)


def test_long_runs_of_combining_marks_are_cut_before_normalisation() -> None:
    """Normalisation sorts them, which takes quadratic time."""
    (term,) = ENGLISH.terms("क" + "\u0301\u0316" * 4_000)
    assert len(term) == 17


def test_usual_characters_are_spelled_the_same_beside_unusual_ones() -> None:
    """Text of usual characters takes a shorter way."""
    usual = "".join(map(chr, (*range(0xA0, 0x250), *range(0x370, 0x530), *range(0x2012, 0x2028))))
    for character in usual.replace("\u00ad", ""):
        assert one_spelling(f"a{character}b ☎") == one_spelling(f"a{character}b") + " ☎"
