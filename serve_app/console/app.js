// Connects the parts of the page: the state in the address, the controls, and the results.

import * as api from "./api.js";
import { byId, debounced } from "./dom.js";
import { halfLife, memories, whole } from "./format.js";
import { Picker } from "./picker.js";
import { Results } from "./results.js";
import * as states from "./state.js";
import { start as startStrip } from "./strip.js";
import { Timeline } from "./timeline.js";

const SLIDER_WAIT_MS = 150;
const FILTER_WAIT_MS = 300;
const WIDE = matchMedia("(min-width: 60rem)");

let state = states.read();
let counting = null; // the AbortController of the running count

const agent = new Picker(byId("agent"), byId("agent-list"), {
  load: async (after) => {
    const page = await api.agents(after);
    return { items: page.agents.map((entry) => ({ ...entry, id: entry.agent_id })), next: page.next_after };
  },
  onPick: (id) => choose(id),
});
const user = new Picker(byId("user"), byId("user-list"), {
  allLabel: "All users",
  load: async (after) => {
    if (!state.agent) return { items: [], next: null };
    const page = await api.users(state.agent, after);
    return { items: page.users.map((entry) => ({ ...entry, id: entry.user_id })), next: page.next_after };
  },
  onPick: (id) => change({ user: id, query: id ? state.query : "" }, { isStep: true, isOther: true }),
});
const results = new Results({
  onChange: () => {
    showCount();
    agent.forget();
    user.forget();
    timeline.load(scope());
  },
  onFilter: (name, value) => change({ meta: JSON.stringify({ [name]: value }) }),
  onClear: () => change({ ...states.FILTERS }),
});
const timeline = new Timeline((day) => {
  const isShown = state.from === day && state.to === day;
  change(isShown ? { from: "", to: "" } : { from: day, to: day });
});

const scope = () => ({ agent_id: state.agent, user_id: state.user });

// Shows an agent. If it has only one user, shows that user, because a search needs one.
async function choose(id) {
  user.forget();
  change({ agent: id, user: "", query: "", ...states.FILTERS }, { isStep: true, isOther: true, isShown: false });
  await user.more();
  if (state.agent !== id || state.user) return;
  if (user.items.length === 1 && user.next === null) change({ user: user.items[0].id }, { isOther: true });
  else render();
}

// Applies values to the state. `isStep`: the browser's Back undoes this. `isOther`: the agent or the
// user is another one. `isShown`: show the results now; otherwise the caller does so later.
function change(values, { isStep = false, isOther = false, isShown = true } = {}) {
  state = { ...state, ...values };
  states.write(state, isStep);
  fillControls();
  if (isOther && state.agent) {
    showCount();
    timeline.load(scope());
  }
  if (isShown) render();
}

function render() {
  if (showMetadataError()) return;
  results.show(state);
}

// Shows why the metadata filter cannot be read, and returns it; empty if it can.
function showMetadataError() {
  let message = "";
  try {
    states.metadata(state.meta);
  } catch (error) {
    ({ message } = error);
  }
  byId("meta-error").textContent = message;
  byId("meta-error").hidden = !message;
  byId("meta").setAttribute("aria-invalid", String(Boolean(message)));
  return message;
}

// Copies the state into the controls.
function fillControls() {
  agent.show(state.agent);
  user.show(state.user);
  byId("user").disabled = !state.agent;
  const isSearchable = Boolean(state.agent && state.user);
  byId("query").disabled = !isSearchable;
  byId("search").querySelector("button").disabled = !isSearchable;
  byId("search-hint").hidden = isSearchable || !state.agent;
  byId("ranking").disabled = !(isSearchable && state.query);
  if (document.activeElement !== byId("query")) byId("query").value = state.query;
  byId("alpha").value = state.alpha;
  byId("importance").value = state.importance;
  byId("half-life").value = states.HALF_LIVES_DAYS.indexOf(state.halfLife);
  byId("alpha-value").textContent = state.alpha.toFixed(2);
  byId("importance-value").textContent = state.importance.toFixed(2);
  byId("half-life-value").textContent = halfLife(state.halfLife);
  byId("half-life").setAttribute("aria-valuetext", halfLife(state.halfLife));
  byId("type").value = state.type;
  byId("from").value = state.from;
  byId("to").value = state.to;
  byId("condensed").checked = Boolean(state.condensed);
  if (document.activeElement !== byId("meta")) byId("meta").value = state.meta;
  timeline.select(state.from, state.to);
  document.title = [state.user, state.agent, "memex console"].filter(Boolean).join(" · ");
}

async function showCount() {
  counting?.abort();
  counting = new AbortController();
  byId("total").textContent = "…";
  try {
    const query = { ...scope(), include_superseded: state.condensed ? true : null };
    const { count } = await api.count(query, counting.signal);
    byId("total").textContent = whole(count);
    byId("total-unit").textContent = memories(count);
  } catch (error) {
    if (error.name !== "AbortError") byId("total").textContent = "–";
  }
}

const renderRanked = debounced(render, SLIDER_WAIT_MS);
const renderFiltered = debounced(render, FILTER_WAIT_MS);

function slide(values) {
  change(values, { isShown: false });
  renderRanked();
}

function listen() {
  byId("search").addEventListener("submit", (event) => {
    event.preventDefault();
    change({ query: byId("query").value.trim() }, { isStep: true });
  });
  byId("query").addEventListener("input", () => {
    if (!byId("query").value && state.query) change({ query: "" }, { isStep: true });
  });
  byId("alpha").addEventListener("input", (event) => slide({ alpha: event.target.valueAsNumber }));
  byId("importance").addEventListener("input", (event) => slide({ importance: event.target.valueAsNumber }));
  byId("half-life").addEventListener("input", (event) =>
    slide({ halfLife: states.HALF_LIVES_DAYS[event.target.valueAsNumber] }));
  byId("reset").addEventListener("click", () => slide({ ...states.RANKING }));
  for (const name of ["type", "from", "to"]) {
    byId(name).addEventListener("change", (event) => change({ [name]: event.target.value }));
  }
  byId("condensed").addEventListener("change", (event) => {
    change({ condensed: event.target.checked ? "1" : "" });
    if (state.agent) showCount();
  });
  byId("meta").addEventListener("input", (event) => {
    change({ meta: event.target.value }, { isShown: false });
    if (!showMetadataError()) renderFiltered();
  });
  byId("clear").addEventListener("click", () => change({ ...states.FILTERS }));
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("popstate", () => {
    const isOther = state.agent !== states.read().agent;
    if (isOther) user.forget();
    change(states.read(), { isOther: true });
  });
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.closest("input, textarea, select, dialog");
    if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    byId("query").focus();
  });
}

async function begin() {
  byId("controls").open = WIDE.matches;
  WIDE.addEventListener("change", () => { byId("controls").open = WIDE.matches; });
  listen();
  startStrip();
  if (state.agent) {
    change({}, { isOther: true });
    return;
  }
  fillControls();
  await agent.more();
  if (state.agent) return;
  if (agent.items.length) choose(agent.items[0].id);
  else welcome();
}

function welcome() {
  byId("status").textContent = agent.message
    ? `${agent.message} Type an agent's id above.`
    : "No memories yet. Memories that agents store with POST /v1/memories or over MCP appear here.";
}

begin();
