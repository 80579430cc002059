"""The console in a real browser, over the running service: what a person does, and sees of it. By
their names these modules stand before test_service.py, with which they share the service."""

import asyncio
import itertools
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from playwright.async_api import Browser, Error, Route, expect

from tests.support.ray.browser import Console, add, installed, opened
from tests.support.ray.service import Service

pytestmark = pytest.mark.skipif(
    installed() is None, reason="the console's tests need Chromium (Debian's package chromium)"
)

NOW = datetime.now(UTC)
HOSTILE = "<script>window.ran = 1</script><img src=x onerror='window.ran = 2'> & \"quotes\" `${1}`"
_agents = (f"console {n}" for n in itertools.count())


@pytest.fixture
def agent() -> str:
    return next(_agents)


async def test_an_agent_and_a_user_are_picked_by_keyboard(
    console: Console, client: httpx2.AsyncClient, agent: str
) -> None:
    await add(client, agent, "of ana")
    await add(client, agent, "of ben", "also of ben", user_id="ben")
    await console.open()
    await expect(console.agent).not_to_have_value("")  # the first that there is
    await console.agent.focus()
    await console.page.keyboard.type(agent)
    option = console.page.get_by_role("option", name=agent)
    await expect(option).to_contain_text("3")
    await console.page.keyboard.press("Enter")
    await expect(console.agent).to_have_value(agent)
    await expect(console.total).to_have_text("3")
    await expect(console.cards.first).to_contain_text("ben")  # whose it is, among several
    await expect(console.query).to_be_disabled()
    await console.user.focus()
    await expect(console.page.locator("#user-list [role=option]")).to_have_text(
        ["All users", "ana1", "ben2"]
    )
    await console.page.keyboard.press("ArrowDown")
    await console.page.keyboard.press("ArrowDown")
    await console.page.keyboard.press("Enter")
    await expect(console.user).to_have_value("ben")
    await console.shows("also of ben", "of ben")
    await expect(console.total).to_have_text("2")
    await expect(console.query).to_be_enabled()
    await console.user.press("x")
    await console.page.keyboard.press("Escape")
    await expect(console.user).to_have_value("ben")
    await expect(console.user).to_have_attribute("aria-expanded", "false")


async def test_browsing_goes_on_to_the_last_one(
    console: Console, client: httpx2.AsyncClient, agent: str
) -> None:
    contents = [f"memory {n}" for n in range(120)]
    await add(client, agent, *contents)
    await console.open(agent=agent, user="ana")
    await expect(console.cards.first).to_contain_text("memory 119")
    assert await console.cards.count() < 120
    for _ in range(20):
        await console.page.keyboard.press("End")
        if await console.page.get_by_text("That is all.").count():
            break
        await asyncio.sleep(0.1)
    await console.shows(*reversed(contents))
    await expect(console.status).to_have_text("120 memories, newest first")


async def test_filters_by_type_day_and_metadata(
    console: Console, client: httpx2.AsyncClient, agent: str
) -> None:
    day = [(NOW - timedelta(days=n)).date().isoformat() for n in range(4)]
    await add(client, agent, "old", created_at=f"{day[3]}T23:59:59.9999Z", metadata={"n": 1})
    await add(client, agent, "edge", created_at=f"{day[2]}T00:00:00Z", memory_type="semantic")
    await add(client, agent, "late", created_at=f"{day[2]}T23:59:59.999999Z", metadata={"n": 1})
    await add(client, agent, "after", created_at=f"{day[1]}T00:00:00Z", metadata={"n": "1", "a": 2})
    page = (await console.open(agent=agent, user="ana")).page
    await console.shows("after", "late", "edge", "old")
    await page.get_by_label("Type", exact=True).select_option("semantic")
    await console.shows("edge")
    await page.get_by_label("Type", exact=True).select_option("procedural")
    await expect(page.get_by_text("No memory passes these filters")).to_be_visible()
    await page.locator("#after").get_by_role("button", name="Clear filters").click()
    await console.shows("after", "late", "edge", "old")
    await page.get_by_label("From (UTC)").fill(day[2])
    await console.shows("after", "late", "edge")
    await page.get_by_label("To (UTC)").fill(day[2])
    await console.shows("late", "edge")
    await page.locator("#filters").get_by_role("button", name="Clear filters").click()
    metadata = page.get_by_role("textbox", name="Metadata")
    await metadata.fill("n=1")
    await console.shows("late", "old")
    await metadata.fill('{"n": "1"')
    await expect(page.get_by_text("This is not JSON yet.")).to_be_visible()
    await console.shows("late", "old")
    await metadata.fill('{"n": "1"}')
    await console.shows("after")
    await metadata.fill("")
    await console.card("old").get_by_role("button", name="n 1").click()
    await console.shows("late", "old")


async def test_a_memory_is_edited_and_deleted(
    console: Console, client: httpx2.AsyncClient, agent: str
) -> None:
    kept, changed = await add(client, agent, "kept", "changed", metadata={"big": 2**60 + 1})
    page = (await console.open(agent=agent, user="ana")).page
    edit = console.card("changed").get_by_role("button", name="Edit")
    await edit.click()
    await expect(console.dialog.get_by_label("Content")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(console.dialog).to_be_hidden()
    await expect(edit).to_be_focused()
    await edit.press("Enter")
    metadata = console.dialog.get_by_label("Metadata (JSON)")
    await metadata.fill("{")
    await console.dialog.get_by_role("button", name="Save").click()
    await expect(console.dialog.get_by_role("alert")).to_contain_text("not JSON")
    await metadata.fill('{"big": 1152921504606846977, "seen": true}')
    await console.dialog.get_by_label("Content").fill("new words")
    await console.dialog.get_by_label("Importance").fill("1.5")
    await console.dialog.get_by_label("Type").select_option("procedural")
    await console.dialog.get_by_role("button", name="Save").click()
    await console.shows("new words", "kept")
    await expect(console.card("new words")).to_contain_text("importance 1.5")
    url, owner = f"/v1/memories/{changed}", {"agent_id": agent}
    stored = (await client.get(url, params=owner)).json()
    assert (stored["content"], stored["importance"], stored["memory_type"]) == (
        "new words", 1.5, "procedural",
    )  # fmt: skip
    assert stored["metadata"] == {"big": 2**60 + 1, "seen": True}

    remove = console.card("new words").get_by_role("button", name="Delete")
    await remove.click()
    await expect(console.dialog).to_contain_text("new words")
    await console.dialog.get_by_role("button", name="Cancel").click()
    assert (await client.get(url, params=owner)).status_code == 200
    await remove.click()
    await console.dialog.get_by_role("button", name="Delete").click()
    await console.shows("kept")
    await expect(console.card("kept").get_by_role("button", name="Edit")).to_be_focused()
    await expect(console.total).to_have_text("1")
    assert (await client.get(url, params=owner)).status_code == 404
    assert (await client.get(f"/v1/memories/{kept}", params=owner)).status_code == 200


async def test_markup_in_memories_is_text(
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
    # The policy would have stopped it, and the listener told: this they do.
    await page.evaluate("document.body.append(document.createElement('style'))")
    await page.evaluate("document.querySelector('body > style').textContent = 'a {}'")
    with pytest.raises(Error, match="TrustedHTML"):
        await page.evaluate("document.body.innerHTML = '<b>x</b>'")
    told = {"style-src-elem", "require-trusted-types-for"}
    for _ in range(100):  # events come when they come
        if {entry.split(" ")[0] for entry in await page.evaluate("window.violations")} == told:
            break
        await asyncio.sleep(0.05)
    else:
        pytest.fail("nothing was told")
    await page.evaluate("window.violations = []")


async def test_the_address_keeps_what_is_shown(
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


async def test_everything_is_reached_by_keyboard(
    console: Console, client: httpx2.AsyncClient, agent: str
) -> None:
    await add(client, agent, "a memory", metadata={"k": 1})
    for n in range(12):  # a list of them that scrolls must not take the focus
        await add(client, f"{agent} {n}", "another's")
    page = (await console.open(agent=agent, user="ana", query="memory")).page
    await expect(page.locator(".bar")).to_be_visible()
    await console.agent.focus()
    await expect(page.get_by_role("option", name=f"{agent} 11")).to_be_attached()
    await page.locator(".skip").focus()
    reached: list[str] = []
    for _ in range(40):
        await page.keyboard.press("Tab")
        at = await page.evaluate(
            """() => {
              const at = document.activeElement;
              const { outlineStyle, outlineWidth } = getComputedStyle(at);
              const name = at.id || at.getAttribute("aria-label") || at.textContent.trim();
              return [name, outlineStyle !== "none" && parseFloat(outlineWidth) > 0];
            }"""
        )
        if at[0] in reached[-1:]:  # a date has several stops, the last on a button of its own
            continue
        assert at[1], f"after {reached}, {at[0]!r} shows no focus"
        reached.append(at[0])
        if at[0].startswith("Delete"):
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
async def test_phones_and_both_schemes(
    browser: Browser, service: Service, client: httpx2.AsyncClient, agent: str, scheme: Any
) -> None:
    await add(client, agent, "x" * 2_000, "short", metadata={"k" * 300: "v" * 3_000})
    phone = {"width": 360, "height": 740}
    async with opened(browser, viewport=phone, color_scheme=scheme) as page:
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


async def test_what_fails_is_one_line_and_can_be_tried_again(
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
    await expect(console.status).to_contain_text("Too many searches of this agent; again in 1 s.")
    await expect(console.status).to_contain_text("The best 1 for “there”")


async def test_agents_that_are_not_listed_can_be_typed(
    console: Console, client: httpx2.AsyncClient, agent: str
) -> None:
    await add(client, agent, "found all the same")
    page = console.page
    refused = {"status": 403, "json": {"detail": "agents are not listed here"}}
    await page.route("**/v1/agents?*", lambda route: route.fulfill(**refused))
    await console.open()
    await expect(console.status).to_contain_text("Agents are not listed here. Type an agent's id")
    await console.agent.fill(agent)
    await console.agent.press("Enter")
    await console.shows("found all the same")
    await console.agent.fill("nobody's")
    await console.agent.press("Enter")
    await expect(page.get_by_text("No memories yet", exact=True)).to_be_visible()


async def test_it_may_lie_below_any_path(
    console: Console, client: httpx2.AsyncClient, agent: str
) -> None:
    await add(client, agent, "below")

    async def stripped(route: Route) -> None:
        answer = await route.fetch(url=route.request.url.replace("/some/path/", "/"))
        await route.fulfill(response=answer)

    await console.page.route(f"{console.url}/some/path/**", stripped)
    await console.page.route(re.compile(rf"^{console.url}/(?!some/path/)"), lambda r: r.abort())
    console.url += "/some/path"
    await console.open(agent=agent, user="ana")
    await console.shows("below")
    await console.search("below")
