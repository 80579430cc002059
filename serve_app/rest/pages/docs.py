"""/docs, /redoc and /: Swagger UI and ReDoc, as in FastAPI, but from local files, not a CDN."""

import importlib.util
import json
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

# Used only for its JavaScript and CSS.
_PACKAGE = "fastapi_offline"

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>memex API</title>
<link rel="icon" href="data:,">
{head}
</head>
<body>
{body}
</body>
</html>
"""

_SWAGGER = _PAGE.format(
    head='<link rel="stylesheet" href="docs-assets/swagger-ui.css">',
    body="""<div id="swagger-ui"></div>
<script src="docs-assets/swagger-ui-bundle.js"></script>
<script>
SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true})
</script>""",
)

_REDOC = _PAGE.format(
    head="<style>body { margin: 0 }</style>",
    body="""<redoc spec-url="openapi.json" disable-search></redoc>
<script src="docs-assets/redoc.standalone.js"></script>""",
)


def doc_routes(document: dict[str, Any]) -> list[BaseRoute]:
    """Routes for the OpenAPI document and the pages that show it."""
    body = json.dumps(document, ensure_ascii=False).encode()

    async def openapi(_request: Request) -> Response:
        return Response(body, media_type="application/json")

    async def swagger(_request: Request) -> Response:
        return HTMLResponse(_SWAGGER)

    async def redoc(_request: Request) -> Response:
        return HTMLResponse(_REDOC)

    async def root(_request: Request) -> Response:
        return RedirectResponse("docs", 307)

    return [
        Route("/", root),
        Route("/openapi.json", openapi),
        Route("/docs", swagger),
        Route("/redoc", redoc),
        Mount("/docs-assets", StaticFiles(directory=_assets_dir())),
    ]


def _assets_dir() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(f"the package {_PACKAGE}, which holds the API docs' assets, is missing")
    return Path(spec.submodule_search_locations[0]) / "static"
