import math

from loadtest import texts


def test_texts_differ_and_are_as_long_as_memories() -> None:
    generated = [texts.text(number) for number in range(20_000)]
    assert len(set(generated)) == len(generated)
    words = [len(text.split()) for text in generated]
    assert min(words) >= 5
    assert max(words) <= 50
    assert 20 <= sum(words) / len(words) <= 32


def test_measurements_do_not_share_texts() -> None:
    first = {texts.text(number) for number in range(1_000)}
    second = {texts.text(texts.ROW_TEXTS + number) for number in range(1_000)}
    assert not first & second


def test_numbers_map_to_all_combinations_once() -> None:
    assert math.gcd(texts.combinations(), 30_011) == 1
    assert texts.combinations() > 100 * texts.ROW_TEXTS
    assert texts.combinations() * 30_011 < 2**53  # mix.lua counts in doubles


def test_choices_of_a_part_differ() -> None:
    for choices in texts.parts():
        assert len(set(choices)) == len(choices)


def test_texts_need_no_json_escapes() -> None:
    assert not any(set(choice) & set('"\\') for choices in texts.parts() for choice in choices)
