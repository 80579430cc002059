// The strip of live figures: requests, durations, cache and replicas, polled every few seconds.

import * as api from "./api.js";
import { byId, el } from "./dom.js";
import { seconds, short, whole } from "./format.js";
import { figures, parse } from "./metrics.js";

const INTERVAL_MS = 5_000;
const SECOND_POLL_MS = 2_000; // soon after the first, because a rate needs two polls
const SPAN_MS = 30_000; // the time that the rate and the durations cover
const polls = [];

export function start() {
  poll();
  setTimeout(poll, SECOND_POLL_MS);
  setInterval(() => document.visibilityState === "visible" && poll(), INTERVAL_MS);
}

async function poll() {
  let text;
  try {
    text = await api.metrics(AbortSignal.timeout(INTERVAL_MS - 500));
  } catch {
    show([["Metrics", "no answer", "The service does not answer"]]);
    return;
  }
  if (text === null) {
    show([["Metrics", "no metrics", "This service has no /metrics"]]);
    return;
  }
  const now = { at_ms: performance.now(), samples: parse(text) };
  polls.push(now);
  while (polls.length > 1 && now.at_ms - polls[1].at_ms >= SPAN_MS) polls.shift();
  const before = polls.length > 1 ? polls[0] : null;
  const found = figures(now.samples, before?.samples, before && (now.at_ms - before.at_ms) / 1000);
  const names = [...found.replicas].map(([deployment, n]) => `${deployment} ${n}`).join(", ");
  const running = [...found.replicas.values()].reduce((sum, n) => sum + n, 0);
  const requests = found.areRecent ? "recent requests" : "requests since the start";
  show([
    ["RPS", found.rps === null ? "…" : short(found.rps), "Recent requests per second, without those to /metrics"],
    ["p50", found.p50_s === null ? "–" : seconds(found.p50_s), `Half of the ${requests} took less`],
    ["p99", found.p99_s === null ? "–" : seconds(found.p99_s), `99 % of the ${requests} took less`],
    ["Cache hits", found.hits === null ? "–" : `${whole(Math.round(found.hits * 100))} %`, "Share of embeddings found in the cache"],
    ["Replicas", running ? whole(running) : "–", names || "Serve has not reported any yet"],
  ]);
}

function show(entries) {
  byId("strip").replaceChildren(
    ...entries.map(([name, value, title]) =>
      el("div", { title }, el("dt", { text: name }), el("dd", { text: value }))),
  );
}
