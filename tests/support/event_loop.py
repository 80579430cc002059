"""Turns of the event loop."""

import asyncio


async def turns(count: int = 20) -> None:
    """All that can go on without a call being answered does."""
    for _ in range(count):
        await asyncio.sleep(0)
