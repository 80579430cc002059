// The state of the page, kept in the address after the #. So it can be shared and reloaded, and it
// never appears in a server's log.

import { parsed } from "./api.js";

export const HALF_LIVES_DAYS = [0.25, 0.5, 1, 2, 3, 7, 14, 30, 60, 90, 180, 365, 1000];
export const TYPES = ["episodic", "semantic", "procedural"];

export const RANKING = { alpha: 0.7, halfLife: 30, importance: 0 };
export const FILTERS = { type: "", from: "", to: "", meta: "" };
// `condensed`: "1" also shows the memories that were condensed into summaries.
const DEFAULTS = { agent: "", user: "", query: "", condensed: "", ...RANKING, ...FILTERS };

const DATE = /^\d{4}-\d\d-\d\d$/;
const isShare = (value) => value >= 0 && value <= 1;
const CHECKS = {
  alpha: isShare,
  importance: isShare,
  condensed: (value) => value === "1",
  halfLife: (value) => HALF_LIVES_DAYS.includes(value),
  type: (value) => TYPES.includes(value),
  from: (value) => DATE.test(value) && !Number.isNaN(Date.parse(value)),
  to: (value) => DATE.test(value) && !Number.isNaN(Date.parse(value)),
};

// The state in the address. Invalid values are ignored.
export function read() {
  const state = { ...DEFAULTS };
  for (const [name, text] of new URLSearchParams(location.hash.slice(1))) {
    if (!(name in DEFAULTS)) continue;
    const value = typeof DEFAULTS[name] === "number" ? Number(text) : text;
    if (!CHECKS[name] || CHECKS[name](value)) state[name] = value;
  }
  return state;
}

// Writes the state into the address. `isStep`: the browser's Back returns to the state before.
export function write(state, isStep) {
  const changed = Object.entries(state).filter(([name, value]) => value !== DEFAULTS[name]);
  const hash = `#${new URLSearchParams(changed)}`;
  if (hash === (location.hash || "#")) return;
  history[isStep ? "pushState" : "replaceState"](null, "", hash);
}

export const hasFilters = (state) => Object.keys(FILTERS).some((name) => state[name] !== "");

// The filters, as parameters of the API, whose windows are half-open. Throws an Error if the days are in the
// wrong order or the metadata cannot be read.
export function filters(state) {
  if (state.from && state.to && state.from > state.to) throw new Error("The first day is after the last.");
  return {
    memory_type: state.type || undefined,
    metadata: metadata(state.meta),
    created_after: state.from ? startOf(state.from) : undefined,
    created_before: state.to ? startOf(state.to, 1) : undefined,
  };
}

const startOf = (date, daysLater = 0) => new Date(Date.parse(date) + daysLater * 86_400_000).toISOString();

// Parses `{"a": 1}`, or `a=1, b=text`; undefined if the text is empty. Throws an Error.
export function metadata(text) {
  const trimmed = text.trim();
  if (!trimmed) return undefined;
  if (trimmed.startsWith("{")) {
    try {
      return parsed(trimmed);
    } catch {
      throw new Error("This is not JSON yet.");
    }
  }
  const found = {};
  for (const pair of trimmed.split(",")) {
    const equals = pair.indexOf("=");
    const name = pair.slice(0, equals).trim();
    if (equals < 0 || !name) throw new Error("Write name=value, or a JSON object.");
    found[name] = valueOf(pair.slice(equals + 1).trim());
  }
  return found;
}

// A JSON value, such as a number, true, null or "text"; anything else is text.
function valueOf(text) {
  try {
    return parsed(text);
  } catch {
    return text;
  }
}
