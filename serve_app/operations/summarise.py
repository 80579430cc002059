"""`memex summarise`: runs one pass of a running service's summariser."""

import sys

import httpx2

from deployments.domain.errors import InvalidInput, Unavailable
from serve_app.operations.http import valid_url

_TIMEOUT_S = 60.0


def summarise(url: str, agent_id: str | None, user_id: str | None) -> bool:
    """Condense what is due in all scopes, the agent's, or one, printing the progress; whether no
    scope failed.

    It can be stopped at any time: finished summaries stay. Raises Unavailable, InvalidInput.
    """
    valid_url(url)
    scope = {"agent_id": agent_id, "user_id": user_id}
    query = {name: value for name, value in scope.items() if value is not None}
    summaries = memories = failed = 0
    with httpx2.Client(timeout=_TIMEOUT_S) as client:
        is_complete = False
        while not is_complete:
            report = _run(client, f"{url}/v1/summaries/run", query)
            summaries += report["summaries"]
            memories += report["memories"]
            failed += report["failed"]
            is_complete = bool(report["is_complete"])
            if not is_complete:
                print(f"memex: {memories} memories condensed so far", file=sys.stderr, flush=True)
    noun = "summary" if summaries == 1 else "summaries"
    print(f"memex: {memories} memories condensed into {summaries} {noun}")
    if failed:
        print(f"memex: {failed} scopes failed; see the service's log", file=sys.stderr)
    return not failed


def _run(client: httpx2.Client, url: str, query: dict[str, str]) -> dict[str, int]:
    try:
        answer = client.post(url, params=query)
    except httpx2.HTTPError:
        raise Unavailable(f"service at {url}") from None
    try:
        body = answer.json()
        if answer.status_code == httpx2.codes.OK:
            return dict(body)
        reason = body["detail"]
    except (ValueError, TypeError, KeyError):
        reason = f"is not memex: unexpected answer with status {answer.status_code}"
    raise InvalidInput(url, reason)
