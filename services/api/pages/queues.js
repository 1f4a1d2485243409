// The queues in figures, and the jobs in them.

import { post, withQuery } from "./api.js";
import { ask } from "./dialog.js";
import { h } from "./dom.js";
import { NONE, count, moment, number, short } from "./format.js";
import { badge, button, choice, loaded, notice, panel, priority, table } from "./parts.js";

export const QUEUES = "/api/admin/queues";

const STATES = ["running", "waiting", "scheduled", "dead"];
const PAGE = 50;
const GLIMPSE = 25;
const TONES = { running: "good", dead: "bad", scheduled: "warn" };

export const jobs = {
  title: "Jobs",
  sources: (context) => [QUEUES, ...wanted(context).map(([queue, state]) => path(context, queue, state))],
  render: (context) => [
    panel("Queues", null, loaded(context.source(QUEUES), (data) => [unknown(data), queueTable(context, data.queues)])),
    panel("Jobs", null, loaded(context.source(QUEUES), () => list(context))),
  ],
};

/** What is not known of the queues, and why. */
export const unknown = ({ message }) => message && notice("warn", message);

/** The queues, each with what waits by priority, who serves it, and the switch that pauses it. */
export function queueTable(context, queues) {
  return table({
    caption: "Queues",
    empty: "There are no queues yet; they appear with the first job.",
    rows: queues,
    key: (queue) => queue.queue,
    columns: [
      { label: "Queue", cell: (queue) => [h("a", { href: `#jobs?queue=${encodeURIComponent(queue.queue)}` }, queue.queue),
        queue.paused && pausedBy(queue)] },
      { label: "Waiting", number: true, cell: (queue) => number(queue.waitingTotal) },
      { label: "By priority", cell: (queue) => byPriority(queue.waiting) },
      { label: "Running", number: true, cell: (queue) => number(queue.running) },
      { label: "Scheduled", number: true, cell: (queue) => number(queue.scheduled) },
      { label: "Dead", number: true, cell: (queue) => (queue.dead
        ? h("a", { class: "bad", href: `#jobs?queue=${encodeURIComponent(queue.queue)}&state=dead` }, number(queue.dead)) : number(queue.dead)) },
      { label: "Workers", number: true, cell: (queue) => (queue.workers || !queue.waitingTotal
        ? number(queue.workers) : badge("bad", "none", "Jobs wait, and no worker serves this queue")) },
      { label: "", name: "Change", cell: (queue) => (queue.paused
        ? button("Resume", () => resume(context, queue), { name: `Resume ${queue.queue}`, key: "resume" })
        : button("Pause", () => pause(context, queue), { name: `Pause ${queue.queue}`, key: "pause" })) },
    ],
  });
}

const pausedBy = ({ pausedAt, pausedBy: who, pauseReason }) => h("div", { class: "detail" }, badge("warn", "paused"),
  pausedAt && [" since ", moment(pausedAt)], who && [" by ", short(who)], pauseReason && `: ${pauseReason}`);

function byPriority(waiting) {
  if (!waiting.length) return NONE;
  return h("span", { class: "priorities" }, waiting.map(({ priority: value, jobs: amount }) =>
    h("span", { key: value, title: `${count(amount, "job")} of priority ${value}` }, priority(value), ` ×${number(amount)}`)));
}

async function pause(context, { queue, running }) {
  const answer = await ask({
    title: `Pause ${queue}?`,
    body: [h("p", {}, "Workers take nothing more from it until it is resumed. ",
      running ? `${count(running, "job")} that run${running === 1 ? "s" : ""} will finish.` : "Nothing is lost.")],
    fields: [{ name: "reason", label: "Reason", maxlength: 500, hint: "for those who read the record later; may stay empty" }],
    confirm: "Pause",
  });
  if (answer) await context.act(() => control(queue, "pause", answer.reason), `${queue} is paused.`);
}

const resume = (context, { queue }) => context.act(() => control(queue, "resume", null), `${queue} goes on.`);

const control = (queue, what, reason) =>
  post(`${QUEUES}/${encodeURIComponent(queue)}/${what}`, { reason: reason?.trim() || null });

// Which queues' jobs in which states to show: what the address asks for; all that hold any, where it does not say.
function wanted(context) {
  const queues = context.source(QUEUES).data?.queues ?? [];
  const queue = context.params.get("queue"), state = context.params.get("state");
  return queues.filter((each) => !queue || each.queue === queue).flatMap((each) =>
    STATES.filter((place) => (state ? place === state : amount(each, place))).map((place) => [each.queue, place]));
}

const amount = (queue, state) => (state === "waiting" ? queue.waitingTotal : queue[state]);

const isPaged = (context) => Boolean(context.params.get("queue") && context.params.get("state"));

function path(context, queue, state) {
  const page = isPaged(context) ? { limit: PAGE, offset: context.params.get("offset") ?? 0 } : { limit: GLIMPSE };
  return withQuery(`${QUEUES}/${encodeURIComponent(queue)}/jobs`, { state, ...page });
}

function list(context) {
  const pages = wanted(context).map(([queue, state]) => context.source(path(context, queue, state)));
  const failure = pages.find((page) => page.error)?.error;
  const rows = pages.flatMap((page) => (page.data?.jobs ?? []).map((job) => ({ ...job, place: page.data.state })));
  rows.sort((one, other) => STATES.indexOf(one.place) - STATES.indexOf(other.place));
  const waits = pages.some((page) => !page.data && !page.error);
  return [
    filters(context),
    failure && notice("bad", failure.message, " Trying again…"),
    waits && !rows.length ? h("p", { class: "empty", "aria-busy": "true" }, "Loading…") : jobTable(rows),
    isPaged(context) ? paging(context, pages[0]?.data) : pages.some((page) => page.data?.nextOffset)
      && h("p", { class: "quiet" }, `The first ${GLIMPSE} of each kind; choose a queue and a state to see all.`),
  ];
}

function filters(context) {
  const queues = context.source(QUEUES).data.queues.map(({ queue }) => [queue, queue]);
  const set = (name) => (value) => context.go("jobs", { ...context.query(), offset: null, [name]: value });
  return h("div", { class: "filters" },
    choice("Queue", context.params.get("queue") ?? "", [["", "all queues"], ...queues], set("queue")),
    choice("State", context.params.get("state") ?? "", [["", "any state"], ...STATES.map((state) => [state, state])], set("state")));
}

function jobTable(rows) {
  return table({
    caption: "Jobs",
    empty: "No jobs here.",
    rows,
    key: (job) => `${job.queue} ${job.key} ${job.place}`,
    columns: [
      { label: "Status", cell: (job) => badge(TONES[job.place] ?? "", job.status) },
      { label: "Priority", number: true, cell: (job) => priority(job.priority) },
      { label: "What", cell: (job) => [job.jobType ?? NONE, h("div", { class: "detail" }, job.queue), note(job)] },
      { label: "Job", cell: (job) => short(job.key) },
      { label: "Course", cell: (job) => short(job.courseId) },
      { label: "Run", number: true, cell: (job) => number(job.runNumber) },
      { label: "Attempts", number: true, cell: (job) => number(job.attempts) },
      { label: "Queued", cell: (job) => moment(job.queuedAt) },
      { label: "Started", cell: (job) => moment(job.startedAt) },
      { label: "Worker", cell: (job) => short(job.worker) },
    ],
  });
}

function note({ dueAt, reason, detail, diedAt }) {
  if (!dueAt && !reason && !detail) return null;
  return h("div", { class: "detail" }, reason && h("strong", {}, reason), diedAt && [" since ", moment(diedAt)],
    dueAt && ["not before ", moment(dueAt)], detail && `: ${detail}`);
}

function paging(context, page) {
  const offset = Number(context.params.get("offset") ?? 0);
  const move = (to) => context.go("jobs", { ...context.query(), offset: to || null });
  if (!offset && !page?.nextOffset) return null;
  return h("div", { class: "buttons" },
    button("Earlier in line", () => move(Math.max(0, offset - PAGE)), { disabled: !offset }),
    h("span", { class: "quiet" }, `from ${number(offset + 1)}`),
    button("Later in line", () => move(page.nextOffset), { disabled: !page?.nextOffset }));
}
