"""Deployment handles without Ray, and the errors that Ray raises for them."""

from typing import Any

from ray.exceptions import ActorUnavailableError, RayActorError, RayTaskError


class Handle:
    """A deployment handle; each call returns, raises or calls the next of `answers`.

    The last answer is repeated.
    """

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.calls: list[tuple[Any, ...]] = []

    def options(self, **_options: Any) -> Any:
        return type("Method", (), {"remote": staticmethod(self._remote)})

    async def _remote(self, *args: Any, **kwargs: Any) -> Any:
        self.calls.append((*args, *kwargs.values()))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return await answer(*args) if callable(answer) else answer


def actor_unavailable() -> RayActorError:
    return ActorUnavailableError("gone", None)


def as_task_error(cause: Exception) -> RayTaskError:
    return RayTaskError("insert", "a traceback with secrets", cause)
