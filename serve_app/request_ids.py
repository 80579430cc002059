"""The module that operators name in RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH. The code is in
web/request_id.py and web/serve_answers.py."""

from contextvars import Context

from ray import serve
from ray.serve import context as serve_context
from ray.serve.exceptions import RayServeException
from starlette.middleware import Middleware

from serve_app.web.request_id import RequestIds
from serve_app.web.serve_answers import ServeAnswers


def middlewares() -> list[Middleware]:
    """The middleware that Serve puts around its own, innermost first, in each process that serves
    HTTP: replicas, and Ray's own proxies, which pass requests on to replicas."""
    waits = None if _is_replica() else is_waiting
    return [Middleware(ServeAnswers, is_waiting=waits), Middleware(RequestIds)]


def _is_replica() -> bool:
    try:
        serve.get_replica_context()
    except RayServeException:
        return False
    return True


def is_waiting(context: Context) -> bool:
    """Whether the request that Ray's proxy passes on in this context waits for a replica."""
    request = context.get(serve_context._serve_request_context)
    return request is not None and bool(
        serve_context._get_requests_pending_assignment(request._internal_request_id)
    )
