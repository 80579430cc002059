"""What a call to a deployment takes along of the requests it is made for: their ids, and their
trace."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.serve import context as serve_context

from deployments.runtime import tracing
from serve_app.web.request_context import RequestContext, current_requests

_SEPARATOR = ", "  # an id has no space


@contextmanager
def propagate_request_context(part: str, method: str) -> Iterator[dict[str, Any]]:
    """Around a call; yields the arguments it must have beside its own: none, unless a span is to be
    continued."""
    requests = current_requests()
    token = _set_serve_context(requests)
    try:
        spans = [request.span for request in requests if request.span is not None]
        if not spans:
            yield {}
            return
        with tracing.calling(part, method, spans) as carrier:
            yield {} if carrier is None else {"trace": carrier}
    finally:
        if token is not None:
            serve_context._serve_request_context.reset(token)


def _set_serve_context(requests: tuple[RequestContext, ...]) -> Any:
    """Serve hands on the id of the request that a call is made in, and puts it into each line of
    the log there. If a call is made for several requests, or for another than the one it is made
    in, Serve has to be told. Such a call must not be cancelled with the request it is made in, when
    that client goes away: so to Serve it is no child of it."""
    ids = _SEPARATOR.join(request.request_id for request in requests)
    serves = serve_context._get_serve_request_context()
    if not ids or ids == serves.request_id:
        return None
    ours = serve_context._RequestContext(
        route=serves.route, request_id=ids, app_name=serves.app_name
    )
    return serve_context._serve_request_context.set(ours)
