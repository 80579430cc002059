// The list of results: a scope's memories, newest first and page by page, or the hits of a search.

import * as api from "./api.js";
import { card, isSummary } from "./card.js";
import * as dialogs from "./dialogs.js";
import { byId, el } from "./dom.js";
import { memories as plural, whole } from "./format.js";
import { filters, hasFilters } from "./state.js";

const PAGE = 50;
const HITS = 20;
const MAX_HITS = 50;

// `onChange()` is called after memories were changed or deleted, `onFilter(name, value)` when a metadata
// field is picked, and `onClear()` to clear the filters.
export class Results {
  constructor({ onChange, onFilter, onClear }) {
    Object.assign(this, { onChange, onFilter, onClear });
    this.list = byId("memories");
    this.after = byId("after");
    this.observer = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) this.more();
    }, { rootMargin: "600px" });
    this.observer.observe(this.after);
  }

  // Shows the results for `state` in place of the current ones; the latest call wins.
  show(state) {
    this.loading?.abort();
    clearTimeout(this.retryTimer);
    this.loading = new AbortController();
    this.state = state;
    this.cursor = null;
    this.isBusy = false;
    this.top = this.isSearch && this.top > HITS && this.lastQuery === state.query ? this.top : HITS;
    this.lastQuery = state.query;
    this.#tail();
    if (!state.agent) {
      this.list.replaceChildren();
      return this.#setStatus("");
    }
    this.#setBusy(true);
    return this.isSearch ? this.#search() : this.#page();
  }

  get isSearch() {
    return Boolean(this.state?.query && this.state.user);
  }

  // Loads the next page, if there is one.
  more() {
    if (this.cursor && !this.isBusy) this.#page();
  }

  #setBusy(isBusy) {
    this.isBusy = isBusy;
    this.list.setAttribute("aria-busy", String(isBusy));
  }

  async #page() {
    const { state, cursor, loading } = this;
    this.#setBusy(true);
    if (cursor) this.#tail(el("p", { class: "hint", text: "Loading more…" }));
    else if (!this.list.childElementCount) this.list.replaceChildren(...skeleton());
    try {
      const found = filters(state);
      const page = await api.list({
        agent_id: state.agent, user_id: state.user, limit: PAGE, cursor, ...found,
        metadata: found.metadata && JSON.stringify(found.metadata),
        include_superseded: state.condensed ? true : null,
      }, loading.signal);
      if (loading !== this.loading) return;
      const cards = page.memories.map((memory) => card(memory, this.#context()));
      if (cursor) this.list.append(...cards);
      else this.list.replaceChildren(...cards);
      this.cursor = page.next_cursor;
      this.#setBusy(false);
      this.#afterPage();
    } catch (error) {
      this.#showFailure(error, loading, () => this.#page());
    }
  }

  #afterPage() {
    const shown = this.list.querySelectorAll(".card").length;
    const which = hasFilters(this.state) ? " that pass the filters" : "";
    byId("parts").hidden = true;
    if (!shown && !this.cursor) return this.#showEmpty();
    this.#setStatus(`${whole(shown)} ${plural(shown)}${which}, newest first${this.cursor ? "; more below" : ""}`);
    this.#tail(this.cursor
      ? el("button", { class: "quiet", type: "button", text: "Load more", on: { click: () => this.more() } })
      : el("p", { class: "hint", text: "That is all." }));
    // The observer only reports changes, but `after` stays visible if the page does not fill the window.
    this.observer.unobserve(this.after);
    this.observer.observe(this.after);
    return undefined;
  }

  async #search() {
    const { state, loading, top } = this;
    try {
      const found = await api.search({
        agent_id: state.agent, user_id: state.user, query: state.query, top_k: top, explain: true,
        alpha: state.alpha, half_life_days: state.halfLife, importance_weight: state.importance,
        include_superseded: Boolean(state.condensed), ...filters(state),
      }, loading.signal);
      if (loading !== this.loading) return;
      const highest = 1 + state.importance;
      const before = positions(this.list);
      this.list.replaceChildren(...found.results.map((hit, n) =>
        card(hit, { ...this.#context(), rank: n + 1, highest })));
      animateMoves(this.list, before);
      this.#setBusy(false);
      this.#afterSearch(found, top);
    } catch (error) {
      if (error.status === 429 && loading === this.loading) this.#retryLater(error);
      else this.#showFailure(error, loading, () => this.show(this.state));
    }
  }

  #afterSearch({ results, reranked }, top) {
    byId("parts").hidden = !results.length;
    if (!results.length) return this.#showEmpty();
    const order = reranked ? ", in the reranker's order" : "";
    this.#setStatus(`The best ${whole(results.length)} for “${this.state.query}”${order}`);
    if (results.length < top || top >= MAX_HITS) return this.#tail();
    return this.#tail(el("button", { class: "quiet", type: "button", text: `Show up to ${MAX_HITS}`,
      on: { click: () => { this.top = MAX_HITS; this.show(this.state); } } }));
  }

  // The agent's rate limit is reached: repeats the latest search after Retry-After.
  #retryLater(error) {
    const pause_s = Math.max(1, error.retryAfter_s);
    this.#setBusy(false);
    this.#setStatus(`Too many searches by this agent; trying again in ${whole(pause_s)} s.`);
    this.retryTimer = setTimeout(() => this.show(this.state), pause_s * 1000);
  }

  #showEmpty() {
    this.#setStatus("");
    const isFiltered = hasFilters(this.state);
    const title = isFiltered ? "No memory passes these filters" : "No memories yet";
    const text = isFiltered
      ? "Widen the dates, or remove a filter."
      : "Memories that the agent stores with POST /v1/memories or over MCP appear here.";
    this.list.replaceChildren();
    return this.#tail(el("div", { class: "empty" }, el("p", { class: "title", text: title }), el("p", { text }),
      isFiltered && el("button", { class: "quiet", type: "button", text: "Clear filters", on: { click: this.onClear } })));
  }

  #showFailure(error, loading, retry) {
    if (error.name === "AbortError" || loading !== this.loading) return;
    this.#setBusy(false);
    if (!this.cursor) this.list.replaceChildren();
    this.#setStatus("");
    this.#tail(el("div", { class: "failed", role: "alert" }, el("p", { class: "error", text: error.message }),
      el("button", { class: "quiet", type: "button", text: "Try again", on: { click: retry } })));
  }

  #setStatus(text) {
    byId("status").textContent = text;
  }

  #tail(...nodes) {
    this.after.replaceChildren(...nodes);
  }

  #context() {
    return {
      withUser: !this.state.user,
      filter: this.onFilter,
      edit: (memory) => dialogs.edit(memory, (changed) => this.#replace(memory, changed)),
      remove: (memory) => dialogs.remove(memory, () => this.#drop(memory)),
      sources: dialogs.sources,
      restore: (memory) => dialogs.restore(memory, () => this.#reload({ isFocusLost: true })),
    };
  }

  #replace(memory, changed) {
    if (changed === memory) return;
    if (this.isSearch) {
      this.#reload();
      return;
    }
    this.#cardOf(memory)?.replaceWith(card(changed, this.#context()));
    this.#cardOf(memory)?.querySelector(".actions button")?.focus();
    this.onChange();
  }

  #drop(memory) {
    if (isSummary(memory) || memory.superseded_by) { // other memories are deleted or restored with it
      this.#reload({ isFocusLost: true });
      return;
    }
    const entry = this.#cardOf(memory);
    const next = entry?.nextElementSibling || entry?.previousElementSibling;
    entry?.remove();
    if (next) next.querySelector(".actions button")?.focus();
    else byId("results").focus();
    if (!this.isSearch) this.#afterPage();
    this.onChange();
  }

  // `isFocusLost`: the element that had the focus is gone.
  #reload({ isFocusLost = false } = {}) {
    if (isFocusLost) byId("results").focus();
    this.show(this.state);
    this.onChange();
  }

  #cardOf(memory) {
    return this.list.querySelector(`[data-id="${CSS.escape(memory.id)}"]`);
  }
}

const skeleton = () => Array.from({ length: 3 }, () => el("li", { class: "card skeleton", "aria-hidden": "true" }, el("span"), el("span")));

// Each card's vertical position in pixels, by id.
const positions = (list) => new Map([...list.querySelectorAll(".card[data-id]")].map((entry) => [entry.dataset.id, entry.offsetTop]));

// Moves each card from its position before to its present one, in a short animation.
function animateMoves(list, before) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  for (const [id, now] of positions(list)) {
    const distance = before.get(id) - now;
    if (!distance) continue;
    const entry = list.querySelector(`[data-id="${CSS.escape(id)}"]`);
    entry.animate([{ transform: `translateY(${distance}px)` }, { transform: "none" }], { duration: 180, easing: "ease-out" });
  }
}
