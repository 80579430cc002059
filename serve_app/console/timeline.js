// The plot of memories per day by type: SVG, drawn to the width it has.

import * as api from "./api.js";
import { byId, el, svg } from "./dom.js";
import { DAY_MS, day as dayText, memories, whole } from "./format.js";
import { TYPES } from "./state.js";

const HEIGHT = 96;
const FOOT = 18; // for the days' names
const HEAD = 14; // for the highest count

// `chosen(iso)` is told of a day that is to be shown alone.
export class Timeline {
  constructor(chosen) {
    this.plot = byId("plot");
    this.days = [];
    this.at = -1;
    this.plot.addEventListener("pointermove", (event) => this.#point(this.#placeOf(event)));
    this.plot.addEventListener("pointerleave", () => this.#point(-1));
    this.plot.addEventListener("click", (event) => {
      const found = this.days[this.#placeOf(event)];
      if (found) chosen(found.day);
    });
    this.plot.addEventListener("keydown", (event) => {
      const last = this.days.length - 1;
      const from = this.at < 0 ? last + 1 : this.at;
      const to = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: last }[event.key];
      if (to !== undefined) this.#point(Math.max(0, Math.min(to, last)));
      else if (event.key === "Enter" && this.days[this.at]) chosen(this.days[this.at].day);
      else return;
      event.preventDefault();
    });
    new ResizeObserver(() => this.#draw()).observe(this.plot);
    byId("days").addEventListener("change", () => this.load(this.scope));
  }

  // Of `{agent_id, user_id}`; the latest call wins.
  async load(scope) {
    if (!scope) return;
    this.scope = scope;
    this.loading?.abort();
    this.loading = new AbortController();
    const days = Number(byId("days").value);
    try {
      const found = await api.timeline({ ...scope, days }, this.loading.signal);
      this.days = filled(found, days);
      this.since = found.since;
      this.failure = "";
    } catch (error) {
      if (error.name === "AbortError") return;
      this.days = [];
      this.failure = error.message;
    }
    this.at = -1;
    this.#draw();
    this.#tell();
  }

  // The days that the lists below are filtered to.
  select(from, to) {
    this.selected = [from, to];
    this.#mark();
  }

  #placeOf(event) {
    const box = this.plot.getBoundingClientRect();
    return Math.floor(((event.clientX - box.left) / box.width) * this.days.length);
  }

  #point(place) {
    if (place === this.at) return;
    this.at = place;
    this.#mark();
    this.#tell();
  }

  #tell() {
    const found = this.days[this.at];
    const isLeftOut = this.days.length && this.since > this.days[0].day;
    let text = this.failure;
    if (found) text = `${dayText(found.date)}: ${told(found)}`;
    else if (!text && isLeftOut) text = `Too many to count: whole from ${dayText(new Date(Date.parse(this.since) + DAY_MS))} on.`;
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
    const drawn = this.days.map((one, place) => {
      const column = svg("g", { class: this.#classOf(one, place), "data-day": one.day });
      const x = place * step + gap / 2;
      column.append(svg("rect", { class: "slot", x: place * step, y: 0, width: step, height: HEIGHT }));
      let y = HEIGHT;
      for (const type of TYPES) {
        const height = one[type] * unit;
        y -= height;
        if (height) column.append(svg("rect", { class: `type-${type}`, x, y, width: Math.max(0.5, step - gap), height, "data-count": one[type] }));
      }
      return column;
    });
    const marks = [0, Math.floor(this.days.length / 2), this.days.length - 1].map((place, n) =>
      svg("text", { x: [0, width / 2, width][n], y: HEIGHT + FOOT - 4, "text-anchor": ["start", "middle", "end"][n], text: dayText(this.days[place].date) }));
    this.plot.replaceChildren(svg("svg", { width, height: HEIGHT + FOOT, viewBox: `0 0 ${width} ${HEIGHT + FOOT}`, "aria-hidden": "true" },
      svg("line", { class: "base", x1: 0, x2: width, y1: HEIGHT, y2: HEIGHT }),
      ...drawn,
      most && svg("text", { x: 0, y: 10, text: whole(most) }),
      ...marks));
  }

  #mark() {
    this.plot.querySelectorAll(".day").forEach((column, place) => {
      column.setAttribute("class", this.#classOf(this.days[place], place));
    });
  }

  #classOf({ day }, place) {
    const [from, to] = this.selected || ["", ""];
    const isFiltered = Boolean(from || to);
    const isWithin = (!from || day >= from) && (!to || day <= to);
    return ["day", place === this.at && "at", isFiltered && (isWithin ? "within" : "without")].filter(Boolean).join(" ");
  }
}

// Every day of the span, also those that have none.
function filled(found, days) {
  const counts = new Map(found.days.map((one) => [one.day, one]));
  const today_ms = Math.floor(Date.now() / DAY_MS) * DAY_MS;
  return Array.from({ length: days }, (_, place) => {
    const date = new Date(today_ms - (days - 1 - place) * DAY_MS);
    const day = date.toISOString().slice(0, 10);
    const one = { day, date, episodic: 0, semantic: 0, procedural: 0, is_exact: true, ...counts.get(day) };
    return { ...one, total: one.episodic + one.semantic + one.procedural };
  });
}

function told(one) {
  if (!one.total) return "none";
  const parts = TYPES.filter((type) => one[type]).map((type) => `${whole(one[type])} ${type}`);
  return `${one.is_exact ? "" : "at least "}${parts.join(", ")}`;
}
