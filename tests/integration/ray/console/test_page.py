"""The console's page: hostile memories, the keyboard, phones, and a failing service."""

import asyncio
import re
from typing import Any

import httpx2
import pytest
from playwright.async_api import Browser, Error, Route, expect

from tests.support.ray.browser import Console, add, needs_chromium, opened_page
from tests.support.ray.service import Service

pytestmark = needs_chromium


HOSTILE = "<script>window.ran = 1</script><img src=x onerror='window.ran = 2'> & \"quotes\" `${1}`"


async def test_markup_in_memories_is_shown_as_text(
    console: Console, client: httpx2.AsyncClient, agent: str
) -> None:
    names = {"agent": f"{agent} {HOSTILE}"[:128], "user": HOSTILE[:128]}
    await add(
        client, names["agent"], HOSTILE, user_id=names["user"],
        metadata={HOSTILE: HOSTILE, "summary": {HOSTILE: HOSTILE}},
    )  # fmt: skip
    page = (await console.open(**names)).page
    await console.shows(HOSTILE)
    await expect(console.cards.locator(".tag .key")).to_have_text(["summary", HOSTILE])
    await console.search(HOSTILE)
    await console.shows(HOSTILE)
    await console.agent.focus()
    await expect(page.get_by_role("option", name=names["agent"])).to_be_visible()
    await page.keyboard.press("Escape")
    await console.card(HOSTILE).get_by_role("button", name="Delete").click()
    await expect(console.dialog.locator("blockquote")).to_have_text(HOSTILE)
    await page.keyboard.press("Escape")
    assert await page.locator("main script, main img, dialog img").count() == 0
    assert await page.evaluate("window.ran") is None
    # Prove that the policy stops violations and that the listener records them.
    await page.evaluate("document.body.append(document.createElement('style'))")
    await page.evaluate("document.querySelector('body > style').textContent = 'a {}'")
    with pytest.raises(Error, match="TrustedHTML"):
        await page.evaluate("document.body.innerHTML = '<b>x</b>'")
    expected = {"style-src-elem", "require-trusted-types-for"}
    for _ in range(100):  # violation events are asynchronous
        if {entry.split(" ")[0] for entry in await page.evaluate("window.violations")} == expected:
            break
        await asyncio.sleep(0.05)
    else:
        pytest.fail("the violations were not recorded")
    await page.evaluate("window.violations = []")


async def test_address_keeps_the_view(
    console: Console, client: httpx2.AsyncClient, agent: str
) -> None:
    await add(client, agent, "green tea", "blue sky", memory_type="semantic")
    await add(client, agent, "green grass")
    page = (await console.open(agent=agent, user="ana")).page
    await console.search("green")
    await page.get_by_label("Type", exact=True).select_option("semantic")
    await expect(console.cards).to_have_count(2)
    await page.reload()
    await expect(console.status).to_contain_text("The best 2 for “green”")
    await expect(console.query).to_have_value("green")
    await expect(page.get_by_label("Type", exact=True)).to_have_value("semantic")
    assert "green" not in page.url.partition("#")[0]
    await page.go_back()
    await expect(console.status).to_have_text("3 memories, newest first")
    await console.open(agent=agent, user="ana", alpha="7", halfLife="x", type="y", **{"from": "z"})
    await page.reload()
    await expect(console.cards).to_have_count(3)


async def test_every_control_is_reached_by_keyboard(
    console: Console, client: httpx2.AsyncClient, agent: str
) -> None:
    await add(client, agent, "a memory", metadata={"k": 1})
    for n in range(12):  # their list scrolls, and must not take the focus
        await add(client, f"{agent} {n}", "another's")
    page = (await console.open(agent=agent, user="ana", query="memory")).page
    await expect(page.locator(".bar")).to_be_visible()
    await console.agent.focus()
    await expect(page.get_by_role("option", name=f"{agent} 11")).to_be_attached()
    await page.locator(".skip").focus()
    reached: list[str] = []
    for _ in range(40):
        await page.keyboard.press("Tab")
        name, has_focus_ring = await page.evaluate(
            """() => {
              const at = document.activeElement;
              const { outlineStyle, outlineWidth } = getComputedStyle(at);
              const name = at.id || at.getAttribute("aria-label") || at.textContent.trim();
              return [name, outlineStyle !== "none" && parseFloat(outlineWidth) > 0];
            }"""
        )
        if name in reached[-1:]:  # a date input has several tab stops, the last on its own button
            continue
        assert has_focus_ring, f"after {reached}, {name!r} shows no focus"
        reached.append(name)
        if name.startswith("Delete"):
            break
    order = ["agent", "user", "days", "plot", "query", "alpha", "half-life", "importance", "type",
             "from", "to", "meta", "condensed", "clear",
             "Edit: a memory", "Delete: a memory"]  # fmt: skip
    assert [name for name in reached if name in order] == order
    await page.keyboard.press("Escape")
    await page.evaluate("document.activeElement.blur()")
    await page.keyboard.press("/")
    await expect(console.query).to_be_focused()
    unnamed = await page.evaluate(
        """() => [...document.querySelectorAll("input, select, textarea, button")].filter((it) =>
          !it.labels?.length && !it.ariaLabel && !it.textContent.trim()).map((it) => it.id)"""
    )
    assert unnamed == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_page_fits_phones_in_both_colour_schemes(
    browser: Browser, service: Service, client: httpx2.AsyncClient, agent: str, scheme: Any
) -> None:
    await add(client, agent, "x" * 2_000, "short", metadata={"k" * 300: "v" * 3_000})
    phone = {"width": 360, "height": 740}
    async with opened_page(browser, viewport=phone, color_scheme=scheme) as page:
        console = await Console(page, service.url).open(agent=agent, user="ana", query="short")
        await expect(page.locator(".bar").first).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") == 360
        await page.get_by_text("Ranking and filters").click()
        await expect(page.get_by_label("Type", exact=True)).to_be_visible()
        await console.cards.first.get_by_role("button", name="Edit").click()
        await expect(console.dialog.get_by_role("button", name="Save")).to_be_in_viewport()
        assert await page.evaluate("document.documentElement.scrollWidth") == 360
        light = await page.evaluate(
            "Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"
        )
        assert (light > 200) == (scheme == "light")


async def test_failure_is_one_line_and_can_be_retried(
    console: Console, client: httpx2.AsyncClient, agent: str
) -> None:
    await add(client, agent, "there")
    page = console.page
    await page.route(re.compile(r"/v1/memories\?"), lambda route: route.abort())
    await console.open(agent=agent, user="ana")
    await expect(page.get_by_role("alert").filter(has_text="does not answer")).to_be_visible()
    await page.unroute_all()
    await page.get_by_role("button", name="Try again").click()
    await console.shows("there")
    problem = {"detail": "this agent may make 1 search calls a minute"}
    refused = {"status": 429, "headers": {"Retry-After": "1"}, "json": problem}
    await page.route("**/search", lambda route: route.fulfill(**refused), times=1)
    await console.query.fill("there")
    await console.query.press("Enter")
    await expect(console.status).to_contain_text(
        "Too many searches by this agent; trying again in 1 s."
    )
    await expect(console.status).to_contain_text("The best 1 for “there”")


async def test_console_works_below_any_path(
    console: Console, client: httpx2.AsyncClient, agent: str
) -> None:
    await add(client, agent, "below")

    async def strip_prefix(route: Route) -> None:
        answer = await route.fetch(url=route.request.url.replace("/some/path/", "/"))
        await route.fulfill(response=answer)

    await console.page.route(f"{console.url}/some/path/**", strip_prefix)
    await console.page.route(re.compile(rf"^{console.url}/(?!some/path/)"), lambda r: r.abort())
    console.url += "/some/path"
    await console.open(agent=agent, user="ana")
    await console.shows("below")
    await console.search("below")
