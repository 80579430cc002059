// The list below: a scope's memories newest first, page by page, or a search's hits.

import * as api from "./api.js";
import { card, isSummary } from "./card.js";
import * as dialogs from "./dialogs.js";
import { byId, el } from "./dom.js";
import { memories as plural, whole } from "./format.js";
import { filters, hasFilters } from "./state.js";

const PAGE = 50;
const HITS = 20;
const MOST_HITS = 50;

// `changed()` is told when memories were changed or deleted; `filter(name, value)` when a piece of
// metadata was chosen; `clear()` when the filters are to go.
export class Results {
  constructor({ changed, filter, clear }) {
    Object.assign(this, { changed, filter, clear });
    this.list = byId("memories");
    this.after = byId("after");
    this.seen = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) this.more();
    }, { rootMargin: "600px" });
    this.seen.observe(this.after);
  }

  // Shows what `state` asks for, in place of what there is; the latest call wins.
  show(state) {
    this.loading?.abort();
    clearTimeout(this.waiting);
    this.loading = new AbortController();
    this.state = state;
    this.cursor = null;
    this.isBusy = false;
    this.top = this.isSearch && this.top > HITS && this.asked === state.query ? this.top : HITS;
    this.asked = state.query;
    this.#tail();
    if (!state.agent) {
      this.list.replaceChildren();
      return this.#say("");
    }
    this.#busy(true);
    return this.isSearch ? this.#search() : this.#page();
  }

  get isSearch() {
    return Boolean(this.state?.query && this.state.user);
  }

  // The next page, where there is one.
  more() {
    if (this.cursor && !this.isBusy) this.#page();
  }

  #busy(isBusy) {
    this.isBusy = isBusy;
    this.list.setAttribute("aria-busy", String(isBusy));
  }

  async #page() {
    const { state, cursor, loading } = this;
    this.#busy(true);
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
      this.#busy(false);
      this.#listed();
    } catch (error) {
      this.#failed(error, loading, () => this.#page());
    }
  }

  #listed() {
    const shown = this.list.querySelectorAll(".card").length;
    const which = hasFilters(this.state) ? " that pass the filters" : "";
    byId("parts").hidden = true;
    if (!shown && !this.cursor) return this.#none();
    this.#say(`${whole(shown)} ${plural(shown)}${which}, newest first${this.cursor ? "; more below" : ""}`);
    this.#tail(this.cursor
      ? el("button", { class: "quiet", type: "button", text: "Load more", on: { click: () => this.more() } })
      : el("p", { class: "hint", text: "That is all." }));
    // The observer tells of changes alone: a page that does not fill the window leaves it in sight.
    this.seen.unobserve(this.after);
    this.seen.observe(this.after);
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
      const before = places(this.list);
      this.list.replaceChildren(...found.results.map((hit, n) =>
        card(hit, { ...this.#context(), place: n + 1, highest })));
      moved(this.list, before);
      this.#busy(false);
      this.#found(found, top);
    } catch (error) {
      if (error.status === 429 && loading === this.loading) this.#wait(error);
      else this.#failed(error, loading, () => this.show(this.state));
    }
  }

  #found({ results, reranked }, top) {
    byId("parts").hidden = !results.length;
    if (!results.length) return this.#none();
    const order = reranked ? ", in the reranker's order" : "";
    this.#say(`The best ${whole(results.length)} for “${this.state.query}”${order}`);
    if (results.length < top || top >= MOST_HITS) return this.#tail();
    return this.#tail(el("button", { class: "quiet", type: "button", text: `Show up to ${MOST_HITS}`,
      on: { click: () => { this.top = MOST_HITS; this.show(this.state); } } }));
  }

  // The service counts an agent's searches: what was asked for last is asked for again.
  #wait(error) {
    const pause_s = Math.max(1, error.retryAfter_s);
    this.#busy(false);
    this.#say(`Too many searches of this agent; again in ${whole(pause_s)} s.`);
    this.waiting = setTimeout(() => this.show(this.state), pause_s * 1000);
  }

  #none() {
    this.#say("");
    const isFiltered = hasFilters(this.state);
    const title = isFiltered ? "No memory passes these filters" : "No memories yet";
    const text = isFiltered
      ? "Widen the time, or drop one of them."
      : "What the agent stores with POST /v1/memories, or over MCP, shows up here.";
    this.list.replaceChildren();
    return this.#tail(el("div", { class: "empty" }, el("p", { class: "title", text: title }), el("p", { text }),
      isFiltered && el("button", { class: "quiet", type: "button", text: "Clear filters", on: { click: this.clear } })));
  }

  #failed(error, loading, again) {
    if (error.name === "AbortError" || loading !== this.loading) return;
    this.#busy(false);
    if (!this.cursor) this.list.replaceChildren();
    this.#say("");
    this.#tail(el("div", { class: "failed", role: "alert" }, el("p", { class: "error", text: error.message }),
      el("button", { class: "quiet", type: "button", text: "Try again", on: { click: again } })));
  }

  #say(text) {
    byId("status").textContent = text;
  }

  #tail(...nodes) {
    this.after.replaceChildren(...nodes);
  }

  #context() {
    return {
      withUser: !this.state.user,
      filter: this.filter,
      edit: (memory) => dialogs.edit(memory, (changed) => this.#replace(memory, changed)),
      remove: (memory) => dialogs.remove(memory, () => this.#drop(memory)),
      sources: dialogs.sources,
      restore: (memory) => dialogs.restore(memory, () => this.#anew({ isElsewhere: true })),
    };
  }

  #replace(memory, changed) {
    if (changed === memory) return;
    if (this.isSearch) {
      this.#anew();
      return;
    }
    this.#cardOf(memory)?.replaceWith(card(changed, this.#context()));
    this.#cardOf(memory)?.querySelector(".actions button")?.focus();
    this.changed();
  }

  #drop(memory) {
    if (isSummary(memory) || memory.superseded_by) { // others come or go with it
      this.#anew({ isElsewhere: true });
      return;
    }
    const entry = this.#cardOf(memory);
    const next = entry?.nextElementSibling || entry?.previousElementSibling;
    entry?.remove();
    if (next) next.querySelector(".actions button")?.focus();
    else byId("results").focus();
    if (!this.isSearch) this.#listed();
    this.changed();
  }

  // `isElsewhere`: what had the focus is gone.
  #anew({ isElsewhere = false } = {}) {
    if (isElsewhere) byId("results").focus();
    this.show(this.state);
    this.changed();
  }

  #cardOf(memory) {
    return this.list.querySelector(`[data-id="${CSS.escape(memory.id)}"]`);
  }
}

const skeleton = () => Array.from({ length: 3 }, () => el("li", { class: "card skeleton", "aria-hidden": "true" }, el("span"), el("span")));

// Each card's height on the page, by id; and from there to where it is now, as a short movement.
const places = (list) => new Map([...list.querySelectorAll(".card[data-id]")].map((entry) => [entry.dataset.id, entry.offsetTop]));

function moved(list, before) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  for (const [id, now] of places(list)) {
    const way = before.get(id) - now;
    if (!way) continue;
    const entry = list.querySelector(`[data-id="${CSS.escape(id)}"]`);
    entry.animate([{ transform: `translateY(${way}px)` }, { transform: "none" }], { duration: 180, easing: "ease-out" });
  }
}
