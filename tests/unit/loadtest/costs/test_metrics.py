from loadtest.costs.metrics import Turn, table
from loadtest.scenarios import Scenario


def test_cost_of_metrics_is_the_share_of_requests_lost() -> None:
    turns = [
        Turn("a", "on", 95.0, 3.4),
        Turn("a", "off", 100.0, 3.3),
        Turn("a", "off", 200.0, 3.1),
        Turn("a", "on", 198.0, 3.2),
    ]
    _, row = table(turns, [Scenario("a", "mix", 1)])
    assert row.split() == ["a", "146.5", "150.0", "+2.3%", "3.30", "3.20", "+5.0%,", "+1.0%"]
