"""The console's figures, in a real browser: scores, days, and the service's metrics."""

import asyncio
import os
import re
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from playwright.async_api import Browser, Locator, Route, expect

from tests.support.ray import scene
from tests.support.ray.browser import Console, add, needs_chromium, opened_page
from tests.support.ray.service import Service

pytestmark = needs_chromium

NOW = datetime.now(UTC)


async def text_of(element: Locator) -> str:
    text = await element.text_content()
    assert text is not None
    return text


async def part_of(piece: Locator) -> float:
    part = await piece.get_attribute("data-part")
    assert part is not None
    return float(part)


async def width_of(element: Locator) -> float:
    box = await element.bounding_box()
    assert box is not None
    return box["width"]


async def test_search_is_ranked_again_as_the_sliders_move(
    console: Console, client: httpx2.AsyncClient, agent: str
) -> None:
    old = (NOW - timedelta(days=200)).isoformat()
    await add(client, agent, "Ana drinks green tea.", created_at=old, importance=0.0)
    await add(client, agent, "The deploy went well.", "The sky is blue.", importance=1.0)
    await add(client, agent, "Bills are due on Friday.", importance=2.0, created_at=old)
    page = (await console.open(agent=agent, user="ana")).page
    await console.search("what tea does she drink?")
    alpha = page.get_by_label("Similarity against recency")
    await alpha.fill("1")
    await expect(console.contents.first).to_have_text("Ana drinks green tea.")
    await alpha.fill("0")
    await expect(console.contents.first).to_have_text("The sky is blue.")
    await page.get_by_label("Half-life").fill("0")
    await expect(page.locator("#half-life-value")).to_have_text("6 hours")
    await alpha.focus()
    await page.keyboard.press("End")
    await expect(console.contents.first).to_have_text("Ana drinks green tea.")
    await page.get_by_label("Importance", exact=False).first.fill("1")
    await expect(console.contents.first).to_have_text("Bills are due on Friday.")
    for setting in ({"alpha": "0.65", "halfLife": "180", "importance": "0.35"}, {"alpha": "0.05"}):
        await console.open(agent=agent, user="ana", query="tea", **setting)
        await page.reload()
        await expect(console.cards).to_have_count(4)
        for card in await console.cards.all():
            await card.scroll_into_view_if_needed()  # cards out of sight have no layout
            await expect(card.locator(".score")).to_have_text(re.compile(r"\d\.\d{4}"))
            await expect(card.locator(".bar")).to_be_visible()
            score = float(await text_of(card.locator(".score")))
            pieces = card.locator(".bar span")
            parts = [await part_of(piece) for piece in await pieces.all()]
            assert len(parts) == 3
            assert sum(parts) == pytest.approx(score, abs=1e-9)
            bar_width = await width_of(card.locator(".bar"))
            highest = 1 + float(setting.get("importance", 0))
            for piece, part in zip(await pieces.all(), parts, strict=True):
                width = max(0, part) / highest * bar_width
                assert await width_of(piece) == pytest.approx(width, abs=1)
            formula = " + ".join(f"{part:.4f}" for part in parts) + f" = {score:.4f}"
            assert (await text_of(card.locator(".sum"))).startswith(formula)


async def test_later_of_two_searches_wins(
    console: Console, client: httpx2.AsyncClient, agent: str
) -> None:
    await add(client, agent, "Ana drinks green tea.", created_at="2020-01-01T00:00:00Z")
    await add(client, agent, "The sky is blue.")
    page = (await console.open(agent=agent, user="ana")).page
    await console.search("green tea")
    released, requests = asyncio.Event(), 0

    async def delay_first(route: Route) -> None:
        nonlocal requests
        requests += 1
        if requests == 1:
            await released.wait()
        try:
            await route.continue_()
        finally:
            released.set()

    await page.route("**/v1/memories/search", delay_first)
    alpha = page.get_by_label("Similarity against recency")
    async with page.expect_request("**/v1/memories/search"):
        await alpha.fill("1")
    async with page.expect_response("**/v1/memories/search"):
        await alpha.fill("0")
    await console.shows("The sky is blue.", "Ana drinks green tea.")
    assert requests == 2
    for value in ("0.5", "0.55", "0.6", "0.95", "1"):  # faster than the page sends searches
        await alpha.fill(value)
    await console.shows("Ana drinks green tea.", "The sky is blue.")
    assert requests < 7


async def test_timeline_shows_and_selects_days(
    console: Console, client: httpx2.AsyncClient, agent: str
) -> None:
    days = [(NOW - timedelta(days=n)).date() for n in range(40)]
    for n, memory_type, count in ((1, "episodic", 3), (1, "semantic", 2), (4, "procedural", 1)):
        contents = [f"day {n} {memory_type} {m}" for m in range(count)]
        at = f"{days[n]}T12:00:00Z"
        await add(client, agent, *contents, created_at=at, memory_type=memory_type)
    await add(client, agent, "long ago", created_at=f"{days[39]}T12:00:00Z")
    page = (await console.open(agent=agent, user="ana")).page
    columns = page.locator("#plot .day")
    await expect(columns).to_have_count(30)
    yesterday = page.locator(f"#plot [data-day='{days[1]}']")
    await expect(yesterday.locator(".type-episodic")).to_have_attribute("data-count", "3")
    await expect(yesterday.locator(".type-semantic")).to_have_attribute("data-count", "2")
    await expect(yesterday.locator(".type-procedural")).to_have_count(0)
    await expect(page.locator("#readout")).to_have_text("6 memories in 30 days")
    plot = page.get_by_role("slider", name="Day")
    await plot.focus()
    for _ in range(5):
        await page.keyboard.press("ArrowLeft")
    await expect(page.locator("#readout")).to_contain_text("1 procedural")
    await page.keyboard.press("Enter")
    await console.shows("day 4 procedural 0")
    await yesterday.locator("rect").last.click()
    await expect(console.cards).to_have_count(5)
    await yesterday.locator("rect").last.click()  # a second click shows all days again
    await expect(console.cards).to_have_count(7)
    await page.locator("#days").select_option("90")
    await expect(columns).to_have_count(90)
    await expect(page.locator("#readout")).to_have_text("7 memories in 90 days")


async def test_strip_shows_the_service_figures(
    console: Console, client: httpx2.AsyncClient, agent: str
) -> None:
    await add(client, agent, "something to embed")
    for _ in range(3):
        body = {"agent_id": agent, "user_id": "ana", "query": "something"}
        assert (await client.post("/v1/memories/search", json=body)).status_code == 200
    page = (await console.open()).page
    strip = page.locator("#strip")
    for figure in (r"p99\s*[\d.]+ m?s", r"Cache hits\s*\d+ %", r"RPS\s*[\d.]+"):
        await expect(strip).to_contain_text(re.compile(figure))
    replicas = strip.locator("div", has_text="Replicas")
    for name in ("RestIngress 1", "MemoryStore 1"):
        title = re.compile(rf"(^|, ){name}(,|$)")
        await expect(replicas).to_have_attribute("title", title)
    await expect(replicas).to_contain_text(re.compile(r"[2-9]"))


async def test_strip_reports_missing_metrics(console: Console) -> None:
    await console.page.route("**/metrics", lambda route: route.fulfill(status=404))
    await console.open()
    await expect(console.page.locator("#strip")).to_contain_text("no metrics")


async def test_figures_cover_the_time_between_two_readings(console: Console) -> None:
    page = (await console.open()).page
    found = await page.evaluate(
        """async () => {
          const { parse, figures } = await import("./console/metrics.js");
          const reading = (requests, low, all, hits) => parse(`
# TYPE memex_http_requests_total counter
memex_http_requests_total{route="/a",status="200",replica="x\\\\"}1",deployment="R"} ${requests}
memex_http_requests_total{route="/metrics",replica="x",deployment="R"} 1e9
memex_http_request_duration_seconds_bucket{le="0.1",route="/a"} ${low}
memex_http_request_duration_seconds_bucket{le="0.2",route="/a"} ${all}
memex_http_request_duration_seconds_bucket{le="+Inf",route="/a"} ${all}
memex_embedding_cache_hits_total ${hits}
memex_embedding_cache_misses_total 10 1700000000000
ray_serve_deployment_replica_healthy{deployment="R",replica="y",application="memex"} 1
ray_serve_deployment_replica_healthy{deployment="R",replica="z",application="memex"} 1
ray_serve_deployment_replica_healthy{deployment="S",replica="ill",application="memex"} 0
`);
          const plain = (it) => ({ ...it, replicas: [...it.replicas] });
          return [
            plain(figures(reading(100, 100, 100, 0), null, null)),
            plain(figures(reading(150, 125, 150, 30), reading(100, 100, 100, 0), 10)),
            plain(figures(reading(7, 7, 7, 0), reading(100, 100, 100, 0), 10)),
            plain(figures(parse(""), null, null)),
          ];
        }"""
    )
    first, between, restarted, empty = found
    assert (first["rps"], first["hits"]) == (None, 0)
    assert first["p50_s"] == pytest.approx(0.05)
    assert (between["rps"], between["hits"]) == (5, 0.75)
    assert between["p50_s"] == pytest.approx(0.1)
    assert between["p99_s"] == pytest.approx(0.198)
    assert between["replicas"] == [["R", 2]]
    assert restarted["rps"] == pytest.approx(0.7)
    assert [entry["areRecent"] for entry in found] == [False, True, True, False]
    assert (empty["rps"], empty["p50_s"], empty["p99_s"], empty["hits"]) == (None,) * 4
    assert empty["replicas"] == []


async def test_readme_picture_shows_the_console(
    browser: Browser, service: Service, client: httpx2.AsyncClient
) -> None:
    """Also writes README's picture if SCREENSHOT names a file."""
    entries = scene.memories(NOW)
    answer = await client.post("/v1/memories/batch", json={"memories": entries})
    assert answer.status_code == 201, answer.text
    viewport = {"width": 1200, "height": 1000}
    async with opened_page(browser, viewport=viewport) as page:
        console = await Console(page, service.url).open(
            agent=scene.AGENT, user=scene.USER, query=scene.QUERY, importance="0.2"
        )
        await expect(console.total).to_have_text(str(len(entries)))
        await expect(console.cards).to_have_count(20)
        await expect(console.contents.first).to_contain_text("short answers")
        if target := os.environ.get("SCREENSHOT"):
            for _ in range(200):  # so that the strip shows traffic
                await client.get("/v1/memories", params={"agent_id": scene.AGENT})
            traffic = re.compile(r"RPS\s*[1-9]")
            await expect(page.locator("#strip")).to_contain_text(traffic)
            await page.screenshot(path=target)
