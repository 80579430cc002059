"""The console's files as served: their headers and what they refer to."""

import re
from html.parser import HTMLParser

import httpx2
import pytest

from serve_app.settings import ROOT

FILES = sorted(path.name for path in (ROOT / "serve_app" / "console").iterdir())
SCRIPTS = [name for name in FILES if name.endswith(".js")]


class Elements(HTMLParser):
    """Tags with their attributes, and the text that scripts and styles hold."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] in ("script", "style"):
            self.inline += data.strip()


async def test_every_file_has_the_security_headers(client: httpx2.AsyncClient) -> None:
    assert {"index.html", "app.js", "console.css", "icon.svg"} <= set(FILES)
    for path in ("/console", *(f"/console/{name}" for name in FILES)):
        answer = await client.get(path)
        assert answer.status_code == 200, path
        directives = dict(
            part.strip().split(" ", 1)
            for part in answer.headers["content-security-policy"].split(";")
        )
        assert (
            directives
            | {
                "default-src": "'none'",
                "script-src": "'self'",
                "style-src": "'self'",
                "connect-src": "'self'",
                "img-src": "'self' data:",
                "base-uri": "'none'",
                "form-action": "'none'",
                "frame-ancestors": "'none'",
            }
            == directives
        )
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/console", "text/html; charset=utf-8"),
        ("/console/app.js", "text/javascript; charset=utf-8"),
        ("/console/console.css", "text/css; charset=utf-8"),
        ("/console/icon.svg", "image/svg+xml"),
    ],
)
async def test_unchanged_files_are_answered_with_304(
    client: httpx2.AsyncClient, path: str, media_type: str
) -> None:
    answer = await client.get(path)
    assert answer.headers["content-type"] == media_type
    etag = answer.headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}'):
        again = await client.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    other = await client.get(path, headers={"If-None-Match": '"other"'})
    assert (other.status_code, other.content) == (200, answer.content)
    head = await client.head(path)
    assert (head.status_code, head.headers["etag"]) == (200, etag)


async def test_unknown_paths_and_hosts_are_refused(client: httpx2.AsyncClient) -> None:
    for path in ("/console/nothing.js", "/console/..%2frest%2fconsole.py", "/console/a/b"):
        answer = await client.get(path)
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
    assert (await client.post("/console")).status_code == 405
    slash = await client.get("/console/")
    assert (slash.status_code, slash.headers["location"]) == (307, "../console")
    foreign = await client.get("/console", headers={"host": "evil.example"})
    assert foreign.status_code == 421


async def test_page_loads_nothing_from_other_hosts(client: httpx2.AsyncClient) -> None:
    elements = Elements((await client.get("/console")).text)
    assert elements.inline == ""
    for tag, attributes in elements.found:
        assert not [name for name in attributes if name == "style" or name.startswith("on")], tag
        for name in ("src", "href"):
            address = attributes.get(name)
            if address and not address.startswith("#"):
                assert not address.startswith("/")
                assert (await client.get(f"/{address}")).status_code in (200, 307), address


@pytest.mark.parametrize("name", SCRIPTS)
async def test_scripts_write_only_text_and_import_only_own_files(
    client: httpx2.AsyncClient, name: str
) -> None:
    script = (await client.get(f"/console/{name}")).text
    for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert sink not in script
    outside = [url for url in re.findall(r"https?://[^\"']+", script) if "www.w3.org" not in url]
    assert outside == []
    for imported in re.findall(r"from \"\./([^\"]+)\"", script):
        assert imported in FILES
