// How the machine is, at a glance.

import { withQuery } from "./api.js";
import { CONCURRENCY, unready } from "./concurrency.js";
import { h } from "./dom.js";
import { NONE, moment, number, signed, span } from "./format.js";
import { badge, figure, loaded, notice, panel, table } from "./parts.js";
import { QUEUES, queueTable, unknown } from "./queues.js";

const OUTBOX = "/api/admin/outbox";
const LEADER = "/api/admin/leader";
const LETTERS = withQuery("/api/admin/dead-letters", { limit: 1 });

const LATE_SECONDS = 60;

export const overview = {
  title: "Overview",
  sources: () => [QUEUES, LEADER, OUTBOX, CONCURRENCY, LETTERS],
  render: (context) => [
    h("div", { class: "tiles", key: "tiles" },
      panel("Leader", null, loaded(context.source(LEADER), leader)),
      panel("Outbox", null, loaded(context.source(OUTBOX), outbox)),
      panel("Courses at once", h("a", { href: "#concurrency" }, "Counters"), loaded(context.source(CONCURRENCY), courses)),
      panel("Dead letters", h("a", { href: "#dead-letters" }, "Look"), loaded(context.source(LETTERS), letters))),
    panel("Queues", h("a", { href: "#jobs" }, "Jobs"),
      loaded(context.source(QUEUES), (data) => [unknown(data), queueTable(context, data.queues)])),
    panel("Outbox by queue", null, loaded(context.source(OUTBOX), outboxTable)),
  ],
};

function leader(data) {
  const standbys = data.nodes.filter((node) => node.alive && node.role === "standby").length;
  return [
    !data.alive && notice("bad", data.holder ? "The leader has not been heard of lately; nothing leaves the outbox."
      : "No relay has led yet; nothing leaves the outbox."),
    h("dl", {},
      figure("holder", data.holder ?? "nobody", "wrap"),
      figure("epoch", data.epoch),
      figure("heard of", data.heartbeatAgeSeconds === null ? "never" : `${span(data.heartbeatAgeSeconds)} ago`,
        data.alive ? "good" : "bad"),
        figure("leads since", moment(data.acquiredAt)),
      figure("standing by", standbys)),
  ];
}

function outbox(data) {
  const late = data.oldestSeconds !== null && data.oldestSeconds > LATE_SECONDS;
  return h("dl", {},
    figure("waiting", data.waiting),
    figure("oldest", data.oldestSeconds === null ? NONE : span(data.oldestSeconds), late ? "bad" : null),
    figure("dead", data.dead, data.dead ? "bad" : null));
}

function outboxTable(data) {
  return table({
    caption: "Outbox by queue",
    empty: "The outbox is empty: everything that was ordered has been handed to a queue.",
    rows: data.queues,
    key: (queue) => queue.queue,
    columns: [
      { label: "Queue", cell: (queue) => queue.queue },
      { label: "Waiting", number: true, cell: (queue) => number(queue.waiting) },
      { label: "Wait for a retry", number: true, cell: (queue) => number(queue.delayed) },
      { label: "Dead", number: true, cell: (queue) => (queue.dead
        ? h("a", { class: "bad", href: `#dead-letters?kind=outbox&queue=${encodeURIComponent(queue.queue)}` }, number(queue.dead)) : "0") },
      { label: "Oldest", number: true, cell: (queue) => span(queue.oldestSeconds) },
    ],
  });
}

function courses(data) {
  const all = data.global;
  return [
    unready(data),
    h("dl", {},
      figure("running", `${number(all.truth)} of ${number(all.limit)}`),
      figure("counter", all.counter),
      figure("drift", signed(all.drift), all.drift ? "warn" : "good")),
  ];
}

function letters(data) {
  const kinds = Object.entries(data.matched);
  const total = kinds.reduce((sum, [, amount]) => sum + amount, 0);
  if (!total) return h("p", { class: "empty" }, badge("good", "none"), " Nothing has been given up.");
  return h("dl", {}, kinds.map(([kind, amount]) => figure(kind, amount, amount ? "bad" : null)));
}

