// What the views are put together from.

import { h } from "./dom.js";
import { NONE, number } from "./format.js";

/**
 * A table that turns into a list of cards where the window is narrow.
 * `columns`: [{label, name?, cell(row), number?}]; `key(row)` names a row for as long as it exists.
 */
export function table({ caption, columns, rows, key, empty }) {
  if (!rows.length) return h("p", { class: "empty" }, empty);
  const kind = (column) => (column.number ? "number" : null);
  return h("div", { class: "scroll" }, h("table", {},
    h("caption", { class: "hidden" }, caption),
    h("thead", {}, h("tr", {}, columns.map((column) => h("th", { scope: "col", class: kind(column) },
      column.label || h("span", { class: "hidden" }, column.name))))),
    h("tbody", {}, rows.map((row) => h("tr", { key: key(row) }, columns.map((column) => cell(column, row)))))));
}

function cell(column, row) {
  const content = column.cell(row);
  const classes = [column.number && "number", content === NONE && "none"].filter(Boolean).join(" ");
  return h("td", { "data-label": column.name ?? column.label, class: classes || null }, h("div", { class: "cell" }, content));
}

/** A section with a heading, and whatever stands at the heading's right. */
export function panel(title, aside, ...content) {
  return h("section", { key: `panel ${title}`, class: "panel" },
    h("div", { class: "panel-head" }, h("h2", {}, title), aside && h("div", { class: "aside" }, aside)), content);
}

/** What a source has to show: its content, the last one beside an error, or that it loads. */
export function loaded(source, content) {
  const failure = source.error && notice("bad", source.error.message,
    source.data ? " What is shown is older." : "", " Trying again…");
  if (source.data) return [failure, content(source.data)];
  return failure ?? h("p", { class: "empty", "aria-busy": "true" }, "Loading…");
}

/** A line that stands out; `tone` is good, warn or bad. */
export const notice = (tone, ...text) => h("p", { class: `notice ${tone}` }, text);

/** A word in a box. */
export const badge = (tone, text, title) => h("span", { class: `badge ${tone}`, title }, text);

/** A button that does something. */
export const button = (label, onclick, { tone = "", disabled = false, name = null, key = null } = {}) =>
  h("button", { key, type: "button", class: tone || null, onclick, disabled, "aria-label": name }, label);

/** A priority, the more urgent the louder. */
export function priority(value) {
  if (value === null || value === undefined) return NONE;
  const level = value >= 8 ? "high" : value >= 3 ? "middle" : "low";
  return h("span", { class: `priority ${level}` }, h("span", { class: "hidden" }, "priority "), value);
}

/** One figure with what it means. */
export const figure = (label, value, tone) =>
  h("div", { class: "figure" }, h("dt", {}, label), h("dd", { class: tone ?? null }, typeof value === "number" ? number(value) : value));

/** A labelled choice. */
export const choice = (label, value, options, onchange) =>
  h("label", { class: "field" }, h("span", {}, label),
    h("select", { value, onchange: (event) => onchange(event.target.value) },
      options.map(([option, text]) => h("option", { key: option, value: option }, text))));
