"""The module that operators name in RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH. The code is in
web/request_id.py."""

from serve_app.web.request_id import middlewares

__all__ = ["middlewares"]
