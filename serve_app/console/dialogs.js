// Edit, delete, sources and restore, in the page's only dialog. Escape closes it.

import * as api from "./api.js";
import { card, isSummary } from "./card.js";
import { byId, el } from "./dom.js";
import { memories, whole } from "./format.js";
import { TYPES } from "./state.js";

const PREVIEW_CHARS = 240;

// The button `verb` awaits `act()`. An error that it throws is shown in one line, and the dialog stays
// open. The function that it returns is called after the dialog has closed, because nothing else can
// have the focus before. Without `verb` there is only a button that closes the dialog.
function ask(title, body, { verb, kind = "primary", act } = {}) {
  const dialog = byId("dialog");
  const problem = el("p", { class: "error", role: "alert", hidden: true });
  const close = el("button", { class: "quiet", type: "button", text: verb ? "Cancel" : "Close", on: { click: () => dialog.close() } });
  const confirm = verb && el("button", { class: kind, type: "submit", text: verb });
  const form = el("form", {}, el("h2", { id: "dialog-title", text: title }), ...body, problem,
    el("div", { class: "buttons" }, close, confirm));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!act || confirm.disabled) return;
    confirm.disabled = true;
    problem.hidden = true;
    try {
      const onClosed = await act();
      dialog.close();
      onClosed();
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
    } finally {
      confirm.disabled = false;
    }
  });
  dialog.replaceChildren(form);
  dialog.showModal();
  return form;
}

const preview = (memory) =>
  el("blockquote", { text: memory.content.length > PREVIEW_CHARS ? `${memory.content.slice(0, PREVIEW_CHARS)}…` : memory.content });

// Calls `done(memory)` with the changed memory.
export function edit(memory, done) {
  const metadata = JSON.stringify(memory.metadata, null, 2);
  const fields = {
    content: el("textarea", { id: "edit-content", rows: "6", maxlength: "8000", required: true }),
    type: el("select", { id: "edit-type" }, ...TYPES.map((type) =>
      el("option", { value: type, text: type, selected: type === memory.memory_type }))),
    importance: el("input", { id: "edit-importance", type: "number", min: "0", max: "2", step: "any", required: true, value: memory.importance }),
    metadata: el("textarea", { id: "edit-metadata", class: "code", rows: "4", spellcheck: "false" }),
  };
  fields.content.value = memory.content;
  fields.metadata.value = metadata;
  const labelled = (text, field) => el("div", { class: "field" }, el("label", { for: field.id, text }), field);
  const body = [
    labelled("Content", fields.content),
    el("div", { class: "pair" }, labelled("Type", fields.type), labelled("Importance (0–2)", fields.importance)),
    labelled("Metadata (JSON)", fields.metadata),
  ];
  ask("Edit memory", body, {
    verb: "Save",
    act: async () => {
      const patch = {};
      if (fields.content.value !== memory.content) patch.content = fields.content.value;
      if (fields.type.value !== memory.memory_type) patch.memory_type = fields.type.value;
      if (fields.importance.valueAsNumber !== memory.importance) patch.importance = fields.importance.valueAsNumber;
      if (fields.metadata.value !== metadata) patch.metadata = json(fields.metadata.value);
      const changed = Object.keys(patch).length ? await api.change(memory, patch) : memory;
      return () => done(changed);
    },
  });
  fields.content.focus();
}

function json(text) {
  try {
    return api.parsed(text);
  } catch (error) {
    throw new Error(`The metadata is not JSON: ${error.message}`);
  }
}

export function remove(memory, done) {
  const consequence = isSummary(memory) ? " So are the memories that it was condensed from."
    : memory.superseded_by ? " Its summary is deleted, too, and the summary's other sources are restored." : "";
  const text = `The memory and its history are deleted for good.${consequence}`;
  ask("Delete this memory?", [preview(memory), el("p", { text })], {
    verb: "Delete",
    kind: "danger",
    act: async () => {
      await api.remove(memory);
      return () => done(memory);
    },
  });
}

export async function sources(memory) {
  const place = el("div", {}, el("p", { class: "hint", text: "Loading…" }));
  ask("Sources of this summary", [preview(memory), place]);
  try {
    const found = (await api.sources(memory)).memories;
    place.replaceChildren(
      el("p", { class: "hint", text: `Condensed from ${whole(found.length)} ${memories(found.length)}.` }),
      el("ol", { class: "memories" }, ...found.map((source) => card(source, {}))));
  } catch (error) {
    place.replaceChildren(el("p", { class: "error", role: "alert", text: error.message }));
  }
}

// Calls `done(memories)` with the restored memories.
export function restore(memory, done) {
  const body = [preview(memory), el("p", { text: "Its sources are restored, and the summary is deleted." })];
  ask("Undo this summary?", body, {
    verb: "Restore",
    act: async () => {
      const restored = (await api.restore(memory)).memories;
      return () => done(restored);
    },
  });
}
