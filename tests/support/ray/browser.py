"""The system's Chromium, headless, and the console's page in it."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
from playwright.async_api import Browser, Locator, Page, async_playwright, expect

# Longer than a loaded machine needs, so that a timeout means a fault.
_TIMEOUT_MS = 30_000
expect.set_options(timeout=_TIMEOUT_MS)

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.effectiveDirective} ${event.blockedURI}`);
});
"""


def chromium_path() -> str | None:
    """The path of an installed Chromium; None if there is none."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


needs_chromium = pytest.mark.skipif(
    chromium_path() is None, reason="the console's tests need Chromium (Debian's package chromium)"
)


@asynccontextmanager
async def launched_browser() -> AsyncIterator[Browser]:
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # root cannot use it
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_path(), args=sandbox)
        yield browser
        await browser.close()


@asynccontextmanager
async def opened_page(browser: Browser, **options: Any) -> AsyncIterator[Page]:
    """A page in a context of its own.

    At the end, fail on script errors, dialogs and violations of the content security policy.
    """
    faults: list[str] = []
    context = await browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    await context.add_init_script(_WATCH)
    page = await context.new_page()
    page.set_default_timeout(_TIMEOUT_MS)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: faults.append(f"a dialog: {dialog.message}"))
    yield page
    await page.wait_for_timeout(50)  # violation events are dispatched later
    assert await page.evaluate("window.violations") == []
    assert faults == []
    await context.close()


class Console:
    """The parts of the console's page that a person sees."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.agent = page.get_by_role("combobox", name="Agent")
        self.user = page.get_by_role("combobox", name="User")
        self.total = page.locator("#total")
        self.status = page.locator("#status[role=status]")
        self.cards = page.locator("#memories > .card[data-id]")
        self.contents = page.locator("#memories > .card .content")
        self.query = page.get_by_role("searchbox")
        self.dialog = page.get_by_role("dialog")

    async def open(self, **state: str) -> "Console":
        await self.page.goto(f"{self.url}/console#{urlencode(state)}")
        return self

    async def shows(self, *contents: str) -> None:
        await expect(self.contents).to_have_text(list(contents))

    async def search(self, query: str) -> None:
        await self.query.fill(query)
        await self.query.press("Enter")
        await expect(self.status).to_contain_text(f"for “{query}”")

    def card(self, content: str) -> Locator:
        return self.cards.filter(has_text=content)


async def add(client: httpx2.AsyncClient, agent: str, *contents: str, **fields: Any) -> list[str]:
    """Store memories one minute apart, the newest last; their ids."""
    now = datetime.now(UTC)
    owner = {"agent_id": agent, "user_id": "ana"}
    entries = [
        {
            **owner,
            "content": content,
            "created_at": (now - timedelta(minutes=len(contents) - n)).isoformat(),
            **fields,
        }
        for n, content in enumerate(contents)
    ]
    answer = await client.post("/v1/memories/batch", json={"memories": entries})
    assert answer.status_code == 201, answer.text
    return [memory["id"] for memory in answer.json()["memories"]]
