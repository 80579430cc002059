// A memory as an entry of a list.

import { el } from "./dom.js";
import { short, time, whole } from "./format.js";
import { scoreBar } from "./score.js";

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

// A summary is a memory that was condensed from others, its sources.
export const isSummary = (memory) => isObject(memory.metadata.summary);

// The text of a summary's badge; null if the metadata is not as the summariser writes it.
function summaryText(memory) {
  const { memories: count, from, to } = isSummary(memory) ? memory.metadata.summary : {};
  if (!Number.isSafeInteger(count) || count < 1 || Number.isNaN(Date.parse(from)) || Number.isNaN(Date.parse(to))) return null;
  return `summary of ${whole(count)}`;
}

// `context`, all of it optional: `withUser` shows the user; `rank` and the `highest` possible score
// belong to a hit; `edit`, `remove`, `sources`, `restore` and `filter(name, value)` are actions.
export function card(memory, context) {
  const content = el("p", { class: "content", text: memory.content });
  const entry = el("li", { class: "card", "data-id": memory.id },
    context.rank && el("p", { class: "rank" },
      el("span", { class: "place", text: `${context.rank}` }),
      el("span", { class: "score", text: memory.score.toFixed(4), title: "Score" })),
    content,
    memory.explanation && scoreBar(memory, context.highest),
    tags(memory, context.filter),
    el("div", { class: "foot" }, el("p", { class: "facts" },
      el("span", { class: `badge type-${memory.memory_type}`, text: memory.memory_type }),
      isSummary(memory) && el("span", { class: "badge summary", text: summaryText(memory) ?? "summary", title: "Condensed from other memories" }),
      memory.superseded_by && context.remove && el("span", { class: "badge condensed", text: "condensed", title: "Condensed into a summary" }),
      context.withUser && el("span", { class: "of-user", text: memory.user_id }),
      el("time", { datetime: memory.created_at, text: time(memory.created_at) }),
      memory.importance !== 1 && el("span", { text: `importance ${short(memory.importance)}` }),
      memory.expires_at && el("span", { text: `until ${time(memory.expires_at)}` })),
    actions(memory, context)));
  if (memory.content.length > 480 || memory.content.split("\n").length > 6) shorten(content);
  return entry;
}

function shorten(content) {
  content.classList.add("short");
  const button = el("button", { class: "quiet", type: "button", text: "Show all", "aria-expanded": "false" });
  button.addEventListener("click", () => {
    const isShort = content.classList.toggle("short");
    button.textContent = isShort ? "Show all" : "Show less";
    button.setAttribute("aria-expanded", String(!isShort));
  });
  content.after(button);
}

function tags(memory, filter) {
  const entries = Object.entries(memory.metadata).filter(([name]) => name !== "summary" || !summaryText(memory));
  if (!entries.length) return null;
  return el("ul", { class: "tags", "aria-label": "Metadata" }, ...entries.map(([name, value]) => {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    const parts = [el("span", { class: "key", text: name }), el("span", { class: "value", text })];
    if (!filter || name === "summary") return el("li", {}, el("span", { class: "tag", title: `${name}: ${text}` }, ...parts));
    const listener = { click: () => filter(name, value) };
    return el("li", {}, el("button", { class: "tag", type: "button", title: `Filter by ${name}: ${text}`, on: listener }, ...parts));
  }));
}

function actions(memory, context) {
  const buttons = [
    isSummary(memory) && context.sources && button("Sources", () => context.sources(memory)),
    isSummary(memory) && context.restore && button("Restore", () => context.restore(memory)),
    context.edit && !memory.superseded_by && button("Edit", () => context.edit(memory)),
    context.remove && button("Delete", () => context.remove(memory), "danger"),
  ].filter(Boolean);
  return buttons.length ? el("div", { class: "actions" }, ...buttons) : null;

  function button(text, action, kind = "") {
    const label = `${text}: ${memory.content.slice(0, 60)}`;
    return el("button", { class: `quiet ${kind}`, type: "button", text, "aria-label": label, on: { click: action } });
  }
}
