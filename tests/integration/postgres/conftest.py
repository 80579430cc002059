"""For the tests against Postgres."""

import pytest

from tests.integration.postgres import data


@pytest.fixture(autouse=True)
def same_data() -> None:
    data.start_anew()
