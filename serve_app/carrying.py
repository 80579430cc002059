"""What travels with a call to a deployment: the ids of its requests, and their trace."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.serve import context as serve_context

from deployments import tracing
from serve_app.origins import Origins, current

_SEPARATOR = ", "  # an id has no space


@contextmanager
def carried(part: str, method: str) -> Iterator[dict[str, Any]]:
    """Around a call; yields the arguments that it has to have beside its own: none, unless there
    is a span to be continued."""
    origins = current()
    token = _tell_serve(origins)
    try:
        spans = [origin.span for origin in origins if origin.span is not None]
        if not spans:
            yield {}
            return
        with tracing.calling(part, method, spans) as carrier:
            yield {} if carrier is None else {"trace": carrier}
    finally:
        if token is not None:
            serve_context._serve_request_context.reset(token)


def _tell_serve(origins: Origins) -> Any:
    """Serve hands on the id of the request that a call is made in, and has each line of the log
    there say it. Of a call for several requests, or for another than the one it is made in, it has
    to be told. Such a call must not be cancelled with that one either, when its client goes away:
    so it is no child of it, to Serve."""
    ids = _SEPARATOR.join(origin.request_id for origin in origins)
    there = serve_context._get_serve_request_context()
    if not ids or ids == there.request_id:
        return None
    told = serve_context._RequestContext(route=there.route, request_id=ids, app_name=there.app_name)
    return serve_context._serve_request_context.set(told)
