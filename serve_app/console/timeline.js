// The plot of memories per day by type: SVG, drawn to the width of its element.

import * as api from "./api.js";
import { byId, el, svg } from "./dom.js";
import { DAY_MS, day as dayText, memories, whole } from "./format.js";
import { TYPES } from "./state.js";

const HEIGHT = 96;
const FOOT = 18; // for the dates
const HEAD = 14; // for the highest count

// `onPick(day)` is called with a picked day, such as "2026-01-31".
export class Timeline {
  constructor(onPick) {
    this.plot = byId("plot");
    this.days = [];
    this.at = -1; // the index of the day under the pointer or cursor
    this.plot.addEventListener("pointermove", (event) => this.#point(this.#indexOf(event)));
    this.plot.addEventListener("pointerleave", () => this.#point(-1));
    this.plot.addEventListener("click", (event) => {
      const picked = this.days[this.#indexOf(event)];
      if (picked) onPick(picked.day);
    });
    this.plot.addEventListener("keydown", (event) => {
      const last = this.days.length - 1;
      const from = this.at < 0 ? last + 1 : this.at;
      const to = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: last }[event.key];
      if (to !== undefined) this.#point(Math.max(0, Math.min(to, last)));
      else if (event.key === "Enter" && this.days[this.at]) onPick(this.days[this.at].day);
      else return;
      event.preventDefault();
    });
    new ResizeObserver(() => this.#draw()).observe(this.plot);
    byId("days").addEventListener("change", () => this.load(this.scope));
  }

  // Loads the days of `{agent_id, user_id}`; the latest call wins.
  async load(scope) {
    if (!scope) return;
    this.scope = scope;
    this.loading?.abort();
    this.loading = new AbortController();
    const days = Number(byId("days").value);
    try {
      const found = await api.timeline({ ...scope, days }, this.loading.signal);
      this.days = everyDay(found, days);
      this.since = found.since;
      this.failure = "";
    } catch (error) {
      if (error.name === "AbortError") return;
      this.days = [];
      this.failure = error.message;
    }
    this.at = -1;
    this.#draw();
    this.#describe();
  }

  // Marks the days that the filters select.
  select(from, to) {
    this.selected = [from, to];
    this.#mark();
  }

  #indexOf(event) {
    const box = this.plot.getBoundingClientRect();
    return Math.floor(((event.clientX - box.left) / box.width) * this.days.length);
  }

  #point(index) {
    if (index === this.at) return;
    this.at = index;
    this.#mark();
    this.#describe();
  }

  #describe() {
    const pointed = this.days[this.at];
    const isLeftOut = this.days.length && this.since > this.days[0].day;
    let text = this.failure;
    if (pointed) text = `${dayText(pointed.date)}: ${counts(pointed)}`;
    else if (!text && isLeftOut) text = `Too many memories to count: complete from ${dayText(new Date(Date.parse(this.since) + DAY_MS))} on.`;
    else if (!text) {
      const sum = this.days.reduce((all, one) => all + one.total, 0);
      text = sum ? `${whole(sum)} ${memories(sum)} in ${this.days.length} days` : `None in the last ${this.days.length} days`;
    }
    byId("readout").textContent = text;
    byId("readout").classList.toggle("error", Boolean(this.failure));
    this.plot.setAttribute("aria-valuemin", 0);
    this.plot.setAttribute("aria-valuemax", Math.max(0, this.days.length - 1));
    this.plot.setAttribute("aria-valuenow", this.at < 0 ? Math.max(0, this.days.length - 1) : this.at);
    this.plot.setAttribute("aria-valuetext", text);
  }

  #draw() {
    const width = this.plot.clientWidth;
    if (!width || !this.days.length) {
      this.plot.replaceChildren();
      return;
    }
    const step = width / this.days.length;
    const gap = step > 5 ? 2 : 0;
    const most = Math.max(...this.days.map(({ total }) => total));
    const highest = Math.max(1, most);
    const unit = (HEIGHT - HEAD) / highest;
    const columns = this.days.map((one, index) => {
      const column = svg("g", { class: this.#classOf(one, index), "data-day": one.day });
      const x = index * step + gap / 2;
      column.append(svg("rect", { class: "slot", x: index * step, y: 0, width: step, height: HEIGHT }));
      let y = HEIGHT;
      for (const type of TYPES) {
        const height = one[type] * unit;
        y -= height;
        if (height) column.append(svg("rect", { class: `type-${type}`, x, y, width: Math.max(0.5, step - gap), height, "data-count": one[type] }));
      }
      return column;
    });
    const marks = [0, Math.floor(this.days.length / 2), this.days.length - 1].map((index, n) =>
      svg("text", { x: [0, width / 2, width][n], y: HEIGHT + FOOT - 4, "text-anchor": ["start", "middle", "end"][n], text: dayText(this.days[index].date) }));
    this.plot.replaceChildren(svg("svg", { width, height: HEIGHT + FOOT, viewBox: `0 0 ${width} ${HEIGHT + FOOT}`, "aria-hidden": "true" },
      svg("line", { class: "base", x1: 0, x2: width, y1: HEIGHT, y2: HEIGHT }),
      ...columns,
      most && svg("text", { x: 0, y: 10, text: whole(most) }),
      ...marks));
  }

  #mark() {
    this.plot.querySelectorAll(".day").forEach((column, index) => {
      column.setAttribute("class", this.#classOf(this.days[index], index));
    });
  }

  #classOf({ day }, index) {
    const [from, to] = this.selected || ["", ""];
    const isFiltered = Boolean(from || to);
    const isWithin = (!from || day >= from) && (!to || day <= to);
    return ["day", index === this.at && "at", isFiltered && (isWithin ? "within" : "without")].filter(Boolean).join(" ");
  }
}

// Every day of the span, including days without memories.
function everyDay(found, days) {
  const byDay = new Map(found.days.map((one) => [one.day, one]));
  const today_ms = Math.floor(Date.now() / DAY_MS) * DAY_MS;
  return Array.from({ length: days }, (_, index) => {
    const date = new Date(today_ms - (days - 1 - index) * DAY_MS);
    const day = date.toISOString().slice(0, 10);
    const one = { day, date, episodic: 0, semantic: 0, procedural: 0, is_exact: true, ...byDay.get(day) };
    return { ...one, total: one.episodic + one.semantic + one.procedural };
  });
}

function counts(one) {
  if (!one.total) return "none";
  const parts = TYPES.filter((type) => one[type]).map((type) => `${whole(one[type])} ${type}`);
  return `${one.is_exact ? "" : "at least "}${parts.join(", ")}`;
}
