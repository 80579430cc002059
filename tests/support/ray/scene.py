"""The memories on README's picture of the console: a month of one user."""

from datetime import datetime, timedelta
from typing import Any

AGENT, USER, QUERY = "travel-desk", "ana.silva", "how should the answers be written?"

# Days ago, type, importance, project (`-`: none), content.
_LINES = """
0.1|episodic|1|lisbon|Ana asked for the refund of the cancelled train; the case number is ERR-4032.
0.2|semantic|1.5|-|Ana wants short answers: the result first, the reasons below it.
0.4|episodic|1|lisbon|She moved the hotel in Lisbon to the 3rd and kept the late check-in.
0.9|procedural|1|-|Send receipts as one PDF, named by trip and date.
1.2|episodic|1|lisbon|The flight TP 571 was booked, seat 14A by the window.
1.3|semantic|1|-|Ana is vegetarian and does not eat nuts.
1.8|episodic|0.5|-|She said that the new office has no bicycle stand.
2.1|procedural|1.5|-|Before booking over 400 euros, ask Ana and name two cheaper ways.
2.6|episodic|1|oslo|The workshop in Oslo was put off to spring.
3.3|semantic|1|-|Her sister Clara lives in Porto and often joins her at weekends.
3.4|episodic|1|oslo|Cancelled the night train to Oslo without a fee.
4.2|procedural|1|-|Write times in 24 hours and prices in euros.
5.5|episodic|1|lisbon|She compared three hotels in Alfama and took the one with a desk.
6.1|semantic|1|-|Ana prefers trains to flights for anything below six hours.
6.3|episodic|1|-|The monthly report went out with two trips on it.
7.7|episodic|1|lisbon|Ana asked which lounge in Lisbon has quiet rooms.
8.2|semantic|2|-|Ana's passport runs out in March; remind her six weeks before.
9.6|procedural|1|-|Put each new trip into the shared calendar on the day it is booked.
11.0|episodic|1|oslo|The client in Oslo sent the agenda for two days.
11.2|episodic|1|oslo|She chose the hotel by the harbour for its breakfast.
12.9|semantic|1|-|She likes window seats, at the front, never the last row.
14.1|episodic|1|-|Her card was replaced; the new one ends in 0042.
16.4|procedural|1|-|When a trip changes, answer with one line that says what is new.
18.0|episodic|1|oslo|Ana wanted a hotel near the fjord with a sauna.
19.5|semantic|0.5|-|Ana used to work in Hamburg.
21.3|episodic|1|-|The yearly rail pass was bought.
24.8|procedural|1|-|Never book before eight in the morning.
27.2|semantic|1|-|Ana speaks Portuguese, English and some German.
28.4|episodic|1|-|First call: she told how she likes to travel.
"""


def memories(now: datetime) -> list[dict[str, Any]]:
    """The memories as bodies for the API, dated back from `now`."""
    bodies = []
    for line in _LINES.strip().splitlines():
        days, memory_type, importance, project, content = line.split("|")
        bodies.append(
            {
                "agent_id": AGENT,
                "user_id": USER,
                "content": content,
                "memory_type": memory_type,
                "importance": float(importance),
                "metadata": {} if project == "-" else {"project": project},
                "created_at": (now - timedelta(days=float(days))).isoformat(),
            }
        )
    return bodies
