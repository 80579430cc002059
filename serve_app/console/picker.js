// A text field with a list to pick from (ARIA's combobox): agents, or an agent's users.

import { el } from "./dom.js";
import { counted, memories } from "./format.js";

// `load(after)` returns a page `{items: [{id, memories, is_exact}], next}`. `onPick(id)` is called with
// a picked id, which is empty for the option `allLabel`, if that is given.
export class Picker {
  constructor(input, list, { load, onPick, allLabel = null }) {
    Object.assign(this, { input, list, load, onPick, allLabel, value: "" });
    this.forget();
    input.addEventListener("focus", () => this.open());
    input.addEventListener("click", () => this.open());
    input.addEventListener("input", () => this.open());
    input.addEventListener("keydown", (event) => this.#key(event));
    input.addEventListener("blur", () => this.close());
    list.addEventListener("mousedown", (event) => event.preventDefault()); // keeps the focus
    list.addEventListener("click", (event) => this.#choose(event.target.closest("[role=option]")));
    list.addEventListener("scroll", () => {
      if (list.scrollTop + list.clientHeight > list.scrollHeight - 40) this.more();
    });
  }

  // Drops the loaded items, because they have changed.
  forget() {
    this.items = [];
    this.next = undefined; // null once there is no more
    this.message = "";
    this.loading = null;
  }

  show(id) {
    this.value = id;
    this.input.value = id;
  }

  // Loads the next page. Errors are shown in the list.
  more() {
    if (this.next === null) return Promise.resolve();
    this.loading ??= this.#load();
    return this.loading;
  }

  async #load() {
    const { items } = this;
    try {
      const page = await this.load(this.next);
      if (items !== this.items) return; // forget() was called meanwhile
      items.push(...page.items);
      this.next = page.next;
    } catch (error) {
      if (items !== this.items) return;
      this.message = error.message;
      this.next = null;
    }
    this.loading = null;
    if (this.isOpen) this.#render();
  }

  open() {
    if (!this.isOpen) this.input.select();
    this.isOpen = true;
    this.#render();
    this.more();
  }

  close() {
    this.isOpen = false;
    this.list.hidden = true;
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
    this.input.value = this.value;
  }

  get #options() {
    return [...this.list.querySelectorAll("[role=option]")];
  }

  #render() {
    const typed = this.input.value === this.value ? "" : this.input.value.trim().toLowerCase();
    const found = this.items.filter(({ id }) => id.toLowerCase().includes(typed));
    const rows = found.map((item) => this.#option(item.id, item.id, counted(item.memories, item.is_exact)));
    if (this.allLabel && !typed) rows.unshift(this.#option("", this.allLabel, ""));
    let note = this.message;
    if (!note && this.next !== null) note = "Loading…";
    else if (!note && !found.length) note = typed ? "No match in the list. Press Enter to use this id." : "None yet.";
    if (note) rows.push(el("li", { class: "note", role: "presentation", text: note }));
    this.list.replaceChildren(...rows);
    this.list.hidden = false;
    this.input.setAttribute("aria-expanded", "true");
    this.#activate(typed ? 0 : this.#options.findIndex((option) => option.dataset.id === this.value));
    if (typed && !found.length && this.next) this.more();
  }

  #option(id, label, count) {
    const option = el("li", { role: "option", "aria-selected": String(id === this.value) },
      el("span", { class: "name", text: label }),
      count && el("span", { class: "count", text: count, "aria-label": `${count} ${memories(count)}` }));
    option.dataset.id = id;
    return option;
  }

  #activate(index) {
    const options = this.#options;
    this.active = Math.max(-1, Math.min(index, options.length - 1));
    this.input.removeAttribute("aria-activedescendant");
    options.forEach((option, n) => {
      option.id = `${this.list.id}-${n}`;
      option.classList.toggle("active", n === this.active);
    });
    if (this.active < 0) return;
    this.input.setAttribute("aria-activedescendant", options[this.active].id);
    options[this.active].scrollIntoView({ block: "nearest" });
  }

  #key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      if (this.isOpen) this.#activate(Math.max(0, this.active + step));
      else this.open();
      if (this.active === this.#options.length - 1) this.more();
    } else if (event.key === "Enter") {
      const option = this.isOpen ? this.#options[this.active] : null;
      const typed = this.input.value.trim();
      if (option) this.#choose(option);
      else if (typed || this.allLabel) this.#pick(typed);
    } else if (event.key === "Escape" && this.isOpen) {
      this.close();
    } else return;
    event.preventDefault();
  }

  #choose(option) {
    if (option) this.#pick(option.dataset.id);
  }

  #pick(id) {
    const isOther = id !== this.value;
    this.show(id);
    this.close();
    if (isOther) this.onPick(id);
  }
}
