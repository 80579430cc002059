"""Summaries in the console, in a real browser: their sources, restored and deleted."""

import re

import httpx2
from playwright.async_api import expect

from tests.support.ray.browser import Console, add, needs_chromium

pytestmark = needs_chromium


async def condense(client: httpx2.AsyncClient, agent: str) -> str:
    """Condense the agent's oldest memories; the id of their summary."""
    answer = await client.post("/v1/summaries/run", params={"agent_id": agent})
    report = answer.json()
    assert (report["summaries"], report["memories"], report["is_complete"]) == (1, 3, True), report
    listed = (await client.get("/v1/memories", params={"agent_id": agent})).json()["memories"]
    (found,) = [memory["id"] for memory in listed if "summary" in memory["metadata"]]
    return str(found)


async def test_sources_of_a_summary_are_shown_and_restored(
    console: Console, client: httpx2.AsyncClient, agent: str
) -> None:
    contents = [f"On day {n} the user watered plant {n}." for n in range(8)]
    contents[1] = "The alarm code is on the fridge. <img src=x onerror='window.ran = 1'>"
    await add(client, agent, *contents)
    summary_id = await condense(client, agent)
    page = (await console.open(agent=agent, user="ana")).page
    await expect(console.total).to_have_text("6")
    await expect(console.contents).to_have_text([*reversed(contents[3:]), re.compile("day 2")])
    summary = page.locator(f".card[data-id='{summary_id}']")
    await expect(summary).to_contain_text("summary of 3")
    await expect(summary.locator(".tag")).to_have_count(0)  # that text replaces its metadata
    await expect(page.get_by_role("button", name="Sources")).to_have_count(1)
    sources = summary.get_by_role("button", name="Sources")
    await sources.click()
    await expect(console.dialog).to_contain_text("Condensed from 3 memories.")
    await expect(console.dialog.locator(".content")).to_have_text(contents[:3])
    await expect(console.dialog.locator(".content ~ * button")).to_have_count(0)
    assert await page.evaluate("window.ran") is None
    await page.keyboard.press("Escape")
    await expect(sources).to_be_focused()

    await summary.get_by_role("button", name="Restore").click()
    await console.dialog.get_by_role("button", name="Cancel").click()
    await expect(console.total).to_have_text("6")
    await summary.get_by_role("button", name="Restore").click()
    await console.dialog.get_by_role("button", name="Restore").click()
    await expect(console.dialog).to_be_hidden()
    await console.shows(*reversed(contents))
    await expect(console.total).to_have_text("8")
    await expect(page.locator("#results")).to_be_focused()
    owner = {"agent_id": agent}
    assert (await client.get(f"/v1/memories/{summary_id}", params=owner)).status_code == 404


async def test_condensed_memories_are_shown_on_request(
    console: Console, client: httpx2.AsyncClient, agent: str
) -> None:
    contents = [f"On day {n} the user watered plant {n}." for n in range(8)]
    await add(client, agent, *contents)
    await condense(client, agent)
    page = (await console.open(agent=agent, user="ana")).page
    await expect(console.cards).to_have_count(6)
    await page.get_by_label("Show condensed memories").check()
    await expect(console.cards).to_have_count(9)
    await expect(console.total).to_have_text("9")
    hidden = console.cards.filter(has=page.locator(".badge.condensed"))
    newest_first = list(reversed(contents[:3]))
    await expect(hidden.locator(".content")).to_have_text(newest_first)
    await expect(hidden.get_by_role("button", name="Edit")).to_have_count(0)  # the API refuses it
    await page.reload()
    await expect(console.cards).to_have_count(9)
    await console.search(contents[0])
    await expect(console.contents.first).to_have_text(contents[0])
    await expect(console.cards.first.locator(".badge.condensed")).to_be_visible()
    await page.go_back()
    await expect(hidden.locator(".content")).to_have_text(
        newest_first
    )  # the search has as many cards

    await hidden.first.get_by_role("button", name="Delete").click()
    await expect(console.dialog).to_contain_text("Its summary is deleted, too")
    await console.dialog.get_by_role("button", name="Delete").click()
    await console.shows(*reversed(contents[3:]), contents[1], contents[0])
    await page.get_by_label("Show condensed memories").uncheck()
    await expect(console.total).to_have_text("7")
    summary_id = await condense(client, agent)
    await page.reload()
    summary = page.locator(f".card[data-id='{summary_id}']")
    await summary.get_by_role("button", name="Delete").click()
    await expect(console.dialog).to_contain_text("So are the memories that it was condensed from")
    await console.dialog.get_by_role("button", name="Delete").click()
    await console.shows(*reversed(contents[4:]))
    everything = {"agent_id": agent, "include_superseded": "true"}
    assert (await client.get("/v1/memories/count", params=everything)).json()["count"] == 4


async def test_metadata_that_looks_like_a_summary_has_no_sources(
    console: Console, client: httpx2.AsyncClient, agent: str
) -> None:
    await add(client, agent, "only a word", metadata={"summary": "only a word"})
    await add(client, agent, "looks like one", metadata={"summary": {"memories": 2}})
    page = (await console.open(agent=agent, user="ana")).page
    await expect(page.get_by_role("button", name="Sources")).to_have_count(1)
    card = console.card("looks like one")
    await card.get_by_role("button", name="Sources").click()
    await expect(console.dialog).to_contain_text("Condensed from 0 memories.")
    await page.keyboard.press("Escape")
    await card.get_by_role("button", name="Restore").click()
    await console.dialog.get_by_role("button", name="Restore").click()
    await expect(console.dialog.get_by_role("alert")).to_contain_text("has no sources")
