from typing import Any

import pytest
from pydantic import ValidationError

from deployments.reranker.settings import RerankerSettings


def test_reranker_is_off_by_default() -> None:
    settings = RerankerSettings()
    assert (settings.model, settings.top_n, settings.budget_ms) == ("", 20, 150)


def test_every_field_has_a_description() -> None:
    assert all(field.description for field in RerankerSettings.model_fields.values())


@pytest.mark.parametrize(
    "values",
    [{"top_n": 0}, {"top_n": 51}, {"budget_ms": 0}, {"budget_ms": "soon"}, {"modle": "x"}],
)
def test_invalid_values_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        RerankerSettings.model_validate(values)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        RerankerSettings().top_n = 5  # type: ignore[misc]
