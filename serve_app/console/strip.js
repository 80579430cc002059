// The live strip: requests, durations, cache and replicas, looked up every few seconds.

import * as api from "./api.js";
import { byId, el } from "./dom.js";
import { seconds, short, whole } from "./format.js";
import { figures, parse } from "./metrics.js";

const EVERY_MS = 5_000;
const SECOND_MS = 2_000; // a rate needs two looks
const SPAN_MS = 30_000; // what the rate and the durations are of
const looks = [];

export function start() {
  look();
  setTimeout(look, SECOND_MS);
  setInterval(() => document.visibilityState === "visible" && look(), EVERY_MS);
}

async function look() {
  let text;
  try {
    text = await api.metrics(AbortSignal.timeout(EVERY_MS - 500));
  } catch {
    show([["Metrics", "no answer", "The service does not answer"]]);
    return;
  }
  if (text === null) {
    show([["Metrics", "no metrics", "This service has no /metrics"]]);
    return;
  }
  const now = { at_ms: performance.now(), samples: parse(text) };
  looks.push(now);
  while (looks.length > 1 && now.at_ms - looks[1].at_ms >= SPAN_MS) looks.shift();
  const before = looks.length > 1 ? looks[0] : null;
  const found = figures(now.samples, before?.samples, before && (now.at_ms - before.at_ms) / 1000);
  const names = [...found.replicas].map(([deployment, n]) => `${deployment} ${n}`).join(", ");
  const running = [...found.replicas.values()].reduce((sum, n) => sum + n, 0);
  const span = before ? "lately" : "since the start";
  show([
    ["RPS", found.rps === null ? "…" : short(found.rps), "Requests a second lately, without those to /metrics"],
    ["p50", found.p50_s === null ? "–" : seconds(found.p50_s), `Half of the requests ${span} took less`],
    ["p99", found.p99_s === null ? "–" : seconds(found.p99_s), `99 % of the requests ${span} took less`],
    ["Cache hits", found.hits === null ? "–" : `${whole(Math.round(found.hits * 100))} %`, "Embeddings that were known already"],
    ["Replicas", running ? whole(running) : "–", names || "Serve has not told of any yet"],
  ]);
}

function show(entries) {
  byId("strip").replaceChildren(
    ...entries.map(([name, value, title]) =>
      el("div", { title }, el("dt", { text: name }), el("dd", { text: value }))),
  );
}
