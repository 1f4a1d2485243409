// What administrators did, and what the machine noted as critical.

import { withQuery } from "./api.js";
import { h } from "./dom.js";
import { NONE, moment, short } from "./format.js";
import { badge, button, choice, loaded, panel, table } from "./parts.js";

const ACTIONS = "/api/admin/actions";
const EVENTS = "/api/admin/events";
const LONGEST = 160;
const TYPES = ["job_rollback", "orphaned_job_recovery", "concurrency_limit_hit"];
const TONES = { warning: "warn", error: "bad", critical: "bad" };

const actionsPath = (context) => withQuery(ACTIONS, { cursor: context.params.get("actions") });
const eventsPath = (context) =>
  withQuery(EVENTS, { type: context.params.get("type"), cursor: context.params.get("events") });

export const activity = {
  title: "Activity",
  sources: (context) => [actionsPath(context), eventsPath(context)],
  render: (context) => [
    panel("What administrators did", null, loaded(context.source(actionsPath(context)), (data) => [
      table({ caption: "Actions, the latest first", empty: data.message ?? "Nobody has changed anything yet.",
        rows: data.actions, key: (action) => action.id, columns: ACTION_COLUMNS }),
      paging(context, "actions", data.nextCursor)])),
    panel("Critical events", null, [
      h("div", { class: "filters" }, choice("Type", context.params.get("type") ?? "",
        [["", "any type"], ...TYPES.map((type) => [type, type.replaceAll("_", " ")])],
        (type) => context.go("activity", { ...context.query(), events: null, type }))),
      loaded(context.source(eventsPath(context)), (data) => [
        table({ caption: "Critical events, the latest first", empty: data.message ?? "Nothing critical has happened.",
          rows: data.events, key: (event) => event.id, columns: EVENT_COLUMNS }),
        paging(context, "events", data.nextCursor)])]),
  ],
};

const ACTION_COLUMNS = [
  { label: "When", cell: (action) => moment(action.at) },
  { label: "Who", cell: (action) => short(action.userId) },
  { label: "What", cell: (action) => action.action },
  { label: "On what", cell: (action) => h("code", {}, action.target) },
  { label: "Detail", cell: (action) => detail(action.detail) },
  { label: "Request", cell: (action) => short(action.requestId) },
];
const EVENT_COLUMNS = [
  { label: "When", cell: (event) => moment(event.createdAt) },
  { label: "Severity", cell: (event) => badge(TONES[event.severity] ?? "", event.severity) },
  { label: "Type", cell: (event) => event.eventType.replaceAll("_", " ") },
  { label: "User", cell: (event) => short(event.userId) },
  { label: "Course", cell: (event) => short(event.courseId) },
  { label: "Job", cell: (event) => short(event.jobId) },
  { label: "Detail", cell: (event) => detail(event.metadata) },
];

function detail(facts) {
  const known = Object.entries(facts).filter(([, value]) => value !== null);
  if (!known.length) return NONE;
  return h("span", { class: "detail" }, known.map(([name, value]) =>
    h("span", { key: name }, h("i", {}, `${name} `), brief(typeof value === "object" ? JSON.stringify(value) : String(value)))));
}

// Five hundred letters replayed at once are five hundred identifiers: the whole list is there to hover over and to copy.
const brief = (text) => (text.length <= LONGEST ? text : h("span", { title: text }, `${text.slice(0, LONGEST)}…`));

function paging(context, name, next) {
  const here = context.params.get(name);
  if (!here && !next) return null;
  const move = (cursor) => context.go("activity", { ...context.query(), [name]: cursor });
  return h("div", { class: "buttons" },
    button("Latest", () => move(null), { disabled: !here }), button("Older", () => move(next), { disabled: !next }));
}
