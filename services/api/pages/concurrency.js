// The counters of courses that run at once, beside the truth, and the limits.

import { post, put } from "./api.js";
import { ask } from "./dialog.js";
import { h } from "./dom.js";
import { NONE, count, moment, number, short, signed } from "./format.js";
import { badge, button, figure, loaded, notice, panel, table } from "./parts.js";

export const CONCURRENCY = "/api/admin/concurrency";

const LARGEST = 10_000;
const SHOWN = 200;

export const concurrency = {
  title: "Concurrency",
  sources: () => [CONCURRENCY],
  render: (context) => [
    panel("Counters", button("Rebuild from PostgreSQL", () => rebuild(context)),
      loaded(context.source(CONCURRENCY), counters)),
    panel("Limits", null, loaded(context.source(CONCURRENCY), (data) => limits(context, data.limits))),
  ],
};

function counters(data) {
  const all = data.global;
  return [
    unready(data),
    h("dl", { class: "wide" },
      figure("counter of all", all.counter),
      figure("running by PostgreSQL", all.truth),
      figure("drift", drift(all.drift)),
      figure("limit", all.limit)),
    h("meter", { min: 0, max: all.limit, high: all.limit - 0.5, value: all.truth, "aria-label": "courses running, of the limit" },
      `${all.truth} of ${all.limit}`),
    table({
      caption: "Counters by user",
      empty: "No user has a course running.",
      rows: data.users.slice(0, SHOWN),
      key: (user) => user.userId,
      columns: [
        { label: "User", cell: (user) => short(user.userId) },
        { label: "Tier", cell: (user) => user.tier ?? NONE },
        { label: "Counter", number: true, cell: (user) => number(user.counter) },
        { label: "Running", number: true, cell: (user) => number(user.truth) },
        { label: "Drift", number: true, cell: (user) => drift(user.drift) },
        { label: "Limit", number: true, cell: (user) => number(user.limit) },
      ],
    }),
    data.usersTotal > SHOWN && h("p", { class: "quiet" }, `and ${count(data.usersTotal - SHOWN, "user")} more, less far off`),
  ];
}

/** What is to be said while the counters are not believed. */
export const unready = (data) => (!data.ready || data.message)
  && notice("warn", data.message ?? "The counters in Redis are not believed just now; PostgreSQL counts instead.");

const drift = (value) => badge(value ? "warn" : "good", signed(value), "counter minus truth");

function limits(context, rows) {
  return table({
    caption: "Limits",
    empty: "There are no limits.",
    rows,
    key: (limit) => limit.scope,
    columns: [
      { label: "For", cell: (limit) => (limit.scope === "global" ? "all users together" : `a ${limit.scope} user`) },
      { label: "Courses at once", number: true, cell: (limit) => number(limit.slots) },
      { label: "By the settings", number: true, cell: (limit) => number(limit.default) },
      { label: "Changed", cell: (limit) => (limit.overridden
        ? [moment(limit.changedAt), " by ", short(limit.changedBy)] : h("span", { class: "quiet" }, "no")) },
      { label: "", name: "Change", cell: (limit) => h("span", { class: "buttons" },
        button("Change…", () => change(context, limit), { name: `Change the limit of ${limit.scope}`, key: "change" }),
        limit.overridden && button("Reset", () => set(context, limit.scope, null),
          { name: `Reset the limit of ${limit.scope}`, key: "reset" })) },
    ],
  });
}

async function change(context, { scope, slots }) {
  const answer = await ask({
    title: `How many courses at once for ${scope === "global" ? "all users together" : scope}?`,
    fields: [{ name: "slots", label: "Courses at once", type: "number", min: 1, max: LARGEST, required: true, value: slots,
      hint: "holds within a second; courses that run go on" }],
    confirm: "Change",
  });
  if (answer) await set(context, scope, Number(answer.slots));
}

const set = (context, scope, slots) => context.act(() => put(`/api/admin/limits/${scope}`, { slots }),
  slots === null ? `${scope}: back to what the settings say.` : `${scope}: ${count(slots, "course")} at once.`);

const rebuild = (context) => context.act(() => post(`${CONCURRENCY}/reconcile`), (done) =>
  (done.corrected ? `${count(done.corrected, "counter")} corrected.` : "Every counter was right."));
