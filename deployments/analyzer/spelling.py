"""Gives texts one spelling that differ only in encoding, in marks, or in invisible characters."""

import re
import unicodedata

import regex

# No letter of any language has more marks, and normalising a long run takes quadratic time.
_TOO_MANY_MARKS = regex.compile(r"(\p{M}{16})\p{M}+")
_LOOKALIKES = (("‐", "-"), ("‑", "-"), ("´", "'"), ("♯", "#"), ("٬", ","), ("٫", "."))
_AFTER_NFKC = (("ё", "е"), ("Ё", "Е"), ("\u2044", "/"))
_PICTOGRAPHS = regex.compile(r"(\p{Extended_Pictographic}+)")
# Soft hyphens, zero-width characters, variation selectors, marks of direction and so on; the joiner
# and the tags are part of emoji.
_INVISIBLE = regex.compile(
    r"(?V1)[\p{Default_Ignorable_Code_Point}--[\u200d\U000e0020-\U000e007f]]+"
)
_STRAY_JOINER = regex.compile(
    r"(?<![\p{Extended_Pictographic}\p{Emoji_Modifier}\U000e007f])\u200d"
    r"|\u200d(?!\p{Extended_Pictographic})"
)
_STRAY_TAGS = regex.compile(r"(?<![🏴\U000e0020-\U000e007f])[\U000e0020-\U000e007f]+")
_DIGIT = regex.compile(r"(?V1)[\p{Nd}--[0-9]]")
_GROUPED_DIGITS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")

_SEMITIC = regex.compile(r"[\p{Arabic}\p{Hebrew}\p{Syriac}]")
_POINTS = regex.compile(r"(?<=[\p{Arabic}\p{Hebrew}\p{Syriac}])\p{Mn}+|ـ+")
# Of an abbreviation or a foreign sound: צה״ל, צ׳יפס; quotes are often typed instead.
_HEBREW_SIGN = regex.compile(r"(?<=\p{Hebrew})[\"'׳״](?=\p{Hebrew})")
# Letters that keyboards and writers exchange: Persian and Egyptian yeh, Persian kaf, teh marbuta.
_ARABIC_LETTERS = str.maketrans("ىیکةٱ", "ييكها")
_STRESS = regex.compile(r"(?<=\p{Cyrillic})[\u0300\u0301]")

_ACCENTS = regex.compile(r"(?V1)([\p{Latin}\p{Greek}])\p{Mn}+")
# Latin letters that no normalisation decomposes.
_LETTERS = str.maketrans(
    {"ı": "i", "ł": "l", "đ": "d", "ð": "d", "ø": "o", "ħ": "h", "ŧ": "t"}
    | {"æ": "ae", "œ": "oe", "þ": "th"}
)
# Letters and punctuation of which only NFKC and Cyrillic's ё change any: those of most texts.
_USUAL = re.compile(
    "[\x00-\xa8\xaa-\xac\xaf-\xb3\xb5-\u02ff\u0370-\u0482\u048a-\u052f\u1e00-\u1fff\u2012-\u2027\u20ac"
    "\u3000-\u3029\u3041-\u3096\u30a1-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uff01-\uff9f]*"
)
_TURKISH_CAPITALS = str.maketrans("Iİ", "ıi")


def one_spelling(text: str) -> str:
    """The text in NFKC with ASCII digits, without invisible characters, separators of thousands and
    the marks that most writers leave out: Arabic and Hebrew points, Cyrillic stress.

    Emoji and other pictographs stay as they are: NFKC would take ℹ for a letter.
    """
    if not text.isascii():
        text = _of_unicode(text)
    return _GROUPED_DIGITS.sub("", text) if "," in text else text


def lower_case(word: str, is_turkish: bool) -> str:
    """The word, case-folded. Only in Turkish is the small letter of I dotless."""
    if is_turkish:
        word = word.translate(_TURKISH_CAPITALS)
    folded = word.casefold()
    return folded if folded.isascii() else folded.replace("i\u0307", "i")


def without_accents(word: str) -> str:
    """The case-folded word without the accents of Latin and Greek letters."""
    if word.isascii():
        return word
    word = _ACCENTS.sub(r"\1", unicodedata.normalize("NFD", word))
    return unicodedata.normalize("NFC", word).translate(_LETTERS)


def _of_unicode(text: str) -> str:
    if _USUAL.fullmatch(text):
        return _folded(unicodedata.normalize("NFKC", text))
    for sign, ascii_sign in _LOOKALIKES:
        text = text.replace(sign, ascii_sign)
    text = _TOO_MANY_MARKS.sub(r"\1", _without_invisible(text))
    pieces = _PICTOGRAPHS.split(text)
    pieces[::2] = [unicodedata.normalize("NFKC", piece) for piece in pieces[::2]]
    text = "".join(pieces)
    if _SEMITIC.search(text):
        text = _POINTS.sub("", unicodedata.normalize("NFD", text))
        text = unicodedata.normalize("NFC", _HEBREW_SIGN.sub("", text)).translate(_ARABIC_LETTERS)
    text = _folded(_STRESS.sub("", text))
    spelled: str = _DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0])), text)
    return spelled


def _folded(text: str) -> str:
    for sign, usual in _AFTER_NFKC:
        text = text.replace(sign, usual)
    return text


def _without_invisible(text: str) -> str:
    visible: str = _STRAY_TAGS.sub("", _INVISIBLE.sub("", text))
    if "\u200d" in visible:
        visible = _STRAY_JOINER.sub("", visible)
    return visible
