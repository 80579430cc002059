"""An application's metrics, recorded in lists."""


class RecordedMetrics:
    def __init__(self) -> None:
        self.answers: list[tuple[str, str, int]] = []
        self.limited: list[str] = []
        self.tools: list[tuple[str, bool]] = []

    def count_request(self, method: str, route: str, status: int, duration_s: float) -> None:
        assert duration_s >= 0
        self.answers.append((method, route, status))

    def count_rate_limited(self, operation: str) -> None:
        self.limited.append(operation)

    def count_tool_call(self, tool: str, is_error: bool, duration_s: float) -> None:
        assert duration_s >= 0
        self.tools.append((tool, is_error))
