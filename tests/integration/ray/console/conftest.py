"""The console in a real browser."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser

from tests.support.ray.browser import Console, launched_browser, opened_page
from tests.support.ray.service import Service


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with launched_browser() as browser:
        yield browser


@pytest.fixture
async def console(browser: Browser, service: Service) -> AsyncIterator[Console]:
    """The console, in a page of its own."""
    async with opened_page(browser) as page:
        yield Console(page, service.url)
