"""Memories in the console, in a real browser, on the running service.

The folder's name sorts these modules before test_service.py, with which they share the service.
"""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx2
from playwright.async_api import expect

from tests.support.ray.browser import Console, add, needs_chromium

pytestmark = needs_chromium

NOW = datetime.now(UTC)


async def test_agent_and_user_are_picked_by_keyboard(
    console: Console, client: httpx2.AsyncClient, agent: str
) -> None:
    await add(client, agent, "of ana")
    await add(client, agent, "of ben", "also of ben", user_id="ben")
    await console.open()
    await expect(console.agent).not_to_have_value("")  # the first agent
    await expect(console.cards.first).to_be_visible()  # its memories: nothing is set any more
    await console.agent.focus()
    await console.page.keyboard.type(agent)
    option = console.page.get_by_role("option", name=agent)
    await expect(option).to_contain_text("3")
    await console.page.keyboard.press("Enter")
    await expect(console.agent).to_have_value(agent)
    await expect(console.total).to_have_text("3")
    await expect(console.cards.first).to_contain_text(
        "ben"
    )  # shows the user, because there are several
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


async def test_scrolling_loads_all_memories(
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


async def test_memories_are_filtered_by_type_day_and_metadata(
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
    await page.get_by_label("From (UTC)").fill(day[1])
    await expect(page.get_by_text("The first day is after the last.")).to_be_visible()
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


async def test_memory_is_edited_and_deleted(
    console: Console, client: httpx2.AsyncClient, agent: str
) -> None:
    kept_id, changed_id = await add(client, agent, "kept", "changed", metadata={"big": 2**60 + 1})
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
    url, owner = f"/v1/memories/{changed_id}", {"agent_id": agent}
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
    assert (await client.get(f"/v1/memories/{kept_id}", params=owner)).status_code == 200


async def test_edit_does_not_overwrite_another_change(
    console: Console, client: httpx2.AsyncClient, agent: str
) -> None:
    (memory_id,) = await add(client, agent, "as listed")
    await console.open(agent=agent, user="ana")
    await console.card("as listed").get_by_role("button", name="Edit").click()
    url, owner = f"/v1/memories/{memory_id}", {"agent_id": agent}
    other = await client.patch(url, params=owner, json={"metadata": {"by": "another"}})
    await console.dialog.get_by_label("Content").fill("overwritten")
    await console.dialog.get_by_role("button", name="Save").click()
    alert = console.dialog.get_by_role("alert")
    await expect(alert).to_contain_text("Somebody else has changed this memory")
    assert (await client.get(url, params=owner)).json() == other.json()


async def test_unlisted_agents_can_be_typed(
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
