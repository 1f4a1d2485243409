// What nothing tries again by itself: looked at, replayed, discarded; never without being shown first what would happen.

import { post, withQuery } from "./api.js";
import { ask } from "./dialog.js";
import { h } from "./dom.js";
import { NONE, count, moment, number, short } from "./format.js";
import { badge, button, choice, loaded, notice, panel, priority, table } from "./parts.js";

const LETTERS = "/api/admin/dead-letters";
const KINDS = ["outbox", "queue", "webhook"];
const FILTERS = ["kind", "queue", "jobType", "courseId", "reason"];
const AT_ONCE = 500;
const SHOWN = 8;

const chosen = new Set();

const filterOf = (context) =>
  Object.fromEntries(FILTERS.map((name) => [name, context.params.get(name)]).filter(([, value]) => value));

const path = (context) => withQuery(LETTERS, { ...filterOf(context), cursor: context.params.get("cursor") });

export const deadLetters = {
  title: "Dead letters",
  sources: (context) => [path(context)],
  render: (context) => [
    panel("Dead letters", null, filters(context),
      loaded(context.source(path(context)), (data) => list(context, data))),
  ],
};

function filters(context) {
  const set = (name) => (value) => look(context, { ...filterOf(context), [name]: value });
  const text = (name, label) => h("label", { class: "field", key: name }, h("span", {}, label),
    h("input", { name, type: "search", autocomplete: "off", value: context.params.get(name) ?? "",
      onchange: (event) => set(name)(event.target.value.trim()) }));
  return h("div", { class: "filters", role: "search" },
    choice("Kind", context.params.get("kind") ?? "", [["", "every kind"], ...KINDS.map((kind) => [kind, kind])], set("kind")),
    text("queue", "Queue"), text("jobType", "Job type"), text("courseId", "Course id"), text("reason", "Reason contains"),
    Object.keys(filterOf(context)).length > 0 && button("Clear", () => look(context, {}), { key: "clear" }));
}

function look(context, filter) {
  chosen.clear();
  context.go("dead-letters", filter);
}

function list(context, data) {
  const letters = data.deadLetters;
  const here = new Set(letters.map((letter) => letter.id));
  for (const id of chosen) if (!here.has(id)) chosen.delete(id);
  const matched = Object.entries(data.matched).filter(([, amount]) => amount);
  return [
    matched.length > 0 && h("p", { class: "quiet" }, matched.map(([kind, amount]) => `${number(amount)} ${kind}`).join(" · ")),
    letters.length > 0 && actions(context),
    table({
      caption: "Dead letters, the latest first",
      empty: data.message ?? "Nothing has been given up.",
      rows: letters,
      key: (letter) => letter.id,
      columns: [{ label: everyOne(context, letters), name: "Chosen", cell: (letter) => one(context, letter) }, ...COLUMNS],
    }),
    (context.params.get("cursor") || data.nextCursor) && h("div", { class: "buttons" },
      button("Latest", () => turn(context, null), { disabled: !context.params.get("cursor") }),
      button("Older", () => turn(context, data.nextCursor), { disabled: !data.nextCursor })),
  ];
}

const turn = (context, cursor) => context.go("dead-letters", { ...filterOf(context), cursor });

const COLUMNS = [
  { label: "Kind", cell: (letter) => badge("", letter.kind) },
  { label: "Reason", cell: (letter) => [h("strong", {}, letter.reason),
    letter.detail && h("div", { class: "detail" }, letter.detail)] },
  { label: "Queue", cell: (letter) => letter.queue ?? NONE },
  { label: "Job type", cell: (letter) => letter.jobType ?? NONE },
  { label: "Priority", number: true, cell: (letter) => priority(letter.priority) },
  { label: "Course", cell: (letter) => short(letter.courseId) },
  { label: "Attempts", number: true, cell: (letter) => number(letter.attempts) },
  { label: "Dead since", cell: (letter) => moment(letter.deadSince) },
];

function everyOne(context, letters) {
  const all = letters.length > 0 && letters.every((letter) => chosen.has(letter.id));
  return h("input", { type: "checkbox", "aria-label": "Choose all shown", checked: all,
    onchange: (event) => {
      for (const { id } of letters) event.target.checked ? chosen.add(id) : chosen.delete(id);
      context.redraw();
    } });
}

const one = (context, { id, reason }) => h("input", { type: "checkbox", checked: chosen.has(id),
  "aria-label": `Choose ${id}: ${reason}`,
  onchange: (event) => {
    event.target.checked ? chosen.add(id) : chosen.delete(id);
    context.redraw();
  } });

function actions(context) {
  const few = { disabled: !chosen.size };
  const some = chosen.size ? ` ${number(chosen.size)}` : "";
  return h("div", { class: "buttons" },
    button(`Replay${some} chosen`, () => settle(context, "replay", { ids: [...chosen] }), { ...few, key: "replay" }),
    button(`Discard${some} chosen`, () => settle(context, "discard", { ids: [...chosen] }), { ...few, key: "discard", tone: "danger" }),
    h("span", { class: "space" }),
    button("Replay all that match…", () => settle(context, "replay", { filter: filterOf(context) }), { key: "replay all" }),
    button("Discard all that match…", () => settle(context, "discard", { filter: filterOf(context) }), { key: "discard all", tone: "danger" }));
}

// First a dry run, which says what would happen; then exactly those letters, and no others that died meanwhile.
async function settle(context, action, which) {
  const rehearsed = await context.attempt(() => everyPage(action, which));
  if (!rehearsed) return;
  const able = rehearsed.filter(({ outcome }) => outcome.startsWith("would_"));
  const ids = able.map(({ id }) => id);
  const refused = rehearsed.filter(({ outcome }) => !outcome.startsWith("would_"));
  const answer = await ask({
    title: ids.length ? `${word(action)} ${count(ids.length, "dead letter")}?` : `There is nothing to ${action}`,
    body: [
      action === "discard" && ids.length > 0 && notice("warn", "What is discarded is not done, now or later."),
      h("ul", { class: "ids" }, able.slice(0, SHOWN).map(({ id, message }) =>
        h("li", { key: id }, h("code", {}, id), message && ` ${message}`)),
        ids.length > SHOWN && h("li", {}, `and ${number(ids.length - SHOWN)} more`)),
      refused.length > 0 && h("p", {}, `${count(refused.length, "letter")} cannot be:`),
      h("ul", {}, refused.slice(0, SHOWN).map(({ id, message, outcome }) =>
        h("li", { key: id }, h("code", {}, id), ` ${message ?? outcome.replaceAll("_", " ")}`))),
    ],
    confirm: ids.length ? `${word(action)} ${number(ids.length)}` : null,
    refuse: ids.length ? "Cancel" : "Close",
    tone: action === "discard" ? "danger" : "",
  });
  if (!answer || !ids.length) return;
  chosen.clear();
  await context.act(() => inParts(action, ids), (done) => told(action, done));
}

const word = (action) => action[0].toUpperCase() + action.slice(1);

async function everyPage(action, which) {
  const results = [];
  let cursor = null;
  do {
    const page = await post(`${LETTERS}/${action}`, { ...which, dryRun: true, ...(cursor && { cursor }) });
    results.push(...page.results);
    cursor = page.nextCursor;
  } while (cursor);
  return results;
}

async function inParts(action, ids) {
  const results = [];
  for (let start = 0; start < ids.length; start += AT_ONCE) {
    const page = await post(`${LETTERS}/${action}`, { ids: ids.slice(start, start + AT_ONCE) });
    results.push(...page.results);
  }
  return results;
}

function told(action, results) {
  const done = results.filter(({ outcome }) => outcome === (action === "replay" ? "replayed" : "discarded")).length;
  const left = results.filter(({ outcome }) => outcome === "refused" || outcome === "not_found");
  const rest = left.length ? ` ${count(left.length, "was", "were")} not: ${left[0].message ?? left[0].outcome.replaceAll("_", " ")}` : "";
  return `${count(done, "dead letter")} ${action === "replay" ? "replayed" : "discarded"}.${rest}`;
}
