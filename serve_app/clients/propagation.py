"""Adds to a call to a deployment the ids and the trace of the requests that it is made for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.serve import context as serve_context

from deployments.runtime import tracing
from serve_app.web.request_context import RequestContext, current_requests

_SEPARATOR = ", "  # an id has no space


@contextmanager
def propagate_request_context(part: str, method: str) -> Iterator[dict[str, Any]]:
    """Around a call; yields the arguments to add to its own: none, unless the replica continues a
    span."""
    requests = current_requests()
    token = _set_serve_context(requests)
    try:
        spans = [request.span for request in requests if request.span is not None]
        if not spans:
            yield {}
            return
        with tracing.call_span(part, method, spans) as carrier:
            yield {} if carrier is None else {"trace": carrier}
    finally:
        if token is not None:
            serve_context._serve_request_context.reset(token)


def _set_serve_context(requests: tuple[RequestContext, ...]) -> Any:
    """Set the request id that Serve sends with a call, if it differs from the current request's; a
    token to reset it, or None.

    Serve puts the id into each log line of the replica. A call for several requests, or for another
    request than the current one, needs their ids. It must not be cancelled when the current
    request's client disconnects, so it gets a new context, which is no child of that request.
    """
    ids = _SEPARATOR.join(request.request_id for request in requests)
    current = serve_context._get_serve_request_context()
    if not ids or ids == current.request_id:
        return None
    detached = serve_context._RequestContext(
        route=current.route, request_id=ids, app_name=current.app_name
    )
    return serve_context._serve_request_context.set(detached)
