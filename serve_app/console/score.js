// Explains a hit's score: a bar of three parts, which add up to the score.

import { el } from "./dom.js";

const PARTS = ["similarity", "recency", "importance"];
const UNITS = 10_000; // scores have four decimals

// `[name, part]` of each part, in ten-thousandths. Rounded parts may differ from the score by one or
// two of these, which are added to the largest part.
export function parts(hit) {
  const { weights } = hit.explanation;
  const found = PARTS.map((name) => [name, Math.round(weights[name] * hit.explanation[name] * UNITS)]);
  const missing = Math.round(hit.score * UNITS) - found.reduce((sum, [, part]) => sum + part, 0);
  if (Math.abs(missing) <= PARTS.length - 1) {
    found.reduce((most, part) => (part[1] > most[1] ? part : most))[1] += missing;
  }
  return found;
}

const decimals = (units) => (units / UNITS).toFixed(4);

// `highest` is the score that fills the bar.
export function scoreBar(hit, highest) {
  const found = parts(hit);
  const description = found.map(([name, part]) => `${name} ${decimals(part)}`).join(", ");
  const bar = el("div", { class: "bar", role: "img", "aria-label": `Score ${hit.score.toFixed(4)}: ${description}` });
  for (const [name, part] of found) {
    const piece = el("span", { class: `part-${name}`, title: `${name} ${decimals(part)}` });
    piece.style.width = `${(Math.max(0, part) / UNITS / highest) * 100}%`;
    piece.dataset.part = decimals(part);
    bar.append(piece);
  }
  const sum = el("p", { class: "sum" });
  found.forEach(([name, part], n) => {
    if (n) sum.append(" + ");
    sum.append(el("span", { class: `value-${name}`, text: decimals(part), title: name }));
  });
  sum.append(` = ${hit.score.toFixed(4)}`);
  const { matched_terms: terms, similar_ids: similar } = hit.explanation;
  if (similar.length) sum.append(el("span", { class: "terms", text: `near-copies: ${similar.length}` }));
  if (terms.length) sum.append(el("span", { class: "terms", text: `words: ${terms.join(", ")}` }));
  return el("div", { class: "why" }, bar, sum);
}
