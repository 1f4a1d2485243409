// The page: who is signed in, which view is shown, and that it stays fresh.

import { activity } from "./activity.js";
import { ApiError } from "./api.js";
import { concurrency } from "./concurrency.js";
import { deadLetters } from "./dead_letters.js";
import { say } from "./dialog.js";
import { h, render } from "./dom.js";
import { clock, moment, short } from "./format.js";
import { overview } from "./overview.js";
import { badge, button, notice } from "./parts.js";
import { jobs } from "./queues.js";
import { signIn, signOut, ticketFromAddress, ticketIn, whoami } from "./session.js";
import { Sources } from "./sources.js";

const VIEWS = { overview, jobs, concurrency, "dead-letters": deadLetters, activity };
const SAQ = "/admin/saq/";
const REFRESH_MS = 3_000;
const SLOWEST_MS = 15_000;

const bar = document.getElementById("bar");
const main = document.getElementById("main");
const sources = new Sources();
const state = { caller: null, problem: null, away: null, begun: false, paused: false, timer: null, running: null };

// ---- where we are: the address's fragment names the view and its parameters, so that it can be kept and sent on

function here() {
  const [name, query = ""] = location.hash.slice(1).split("?");
  return { name: name in VIEWS ? name : "overview", params: new URLSearchParams(query) };
}

function go(name, parameters = {}) {
  const known = Object.entries(parameters).filter(([, value]) => value !== null && value !== "");
  const query = new URLSearchParams(known);
  location.hash = query.size ? `${name}?${query}` : name;
}

const context = {
  get params() { return here().params; },
  query: () => Object.fromEntries(here().params),
  source: (path) => sources.read(path),
  go,
  redraw: draw,
  /** Do something that changes nothing; its answer, or null when it failed, which is then said. */
  async attempt(work) {
    try {
      return await work();
    } catch (error) {
      failed(error);
      return null;
    }
  },
  /** Change something, tell how it went, and show what has become of it. */
  async act(work, done) {
    try {
      const answer = await work();
      say(typeof done === "function" ? done(answer) : done);
    } catch (error) {
      failed(error);
    }
    await refresh();
  },
};

function failed(error) {
  if (!(error instanceof ApiError)) throw error;
  say(error.message, "bad");
  if (error.status === 401) leave(error.message);
}

// ---- what is shown

function draw() {
  document.title = `${state.caller?.isAdmin ? `${VIEWS[here().name].title} · ` : ""}coursegen admin`;
  render(bar, ...head());
  render(main, ...body());
}

function head() {
  const { name } = here();
  const admin = state.caller?.isAdmin;
  return [
    h("div", { class: "brand" }, h("strong", {}, "coursegen"), " admin"),
    admin && h("nav", { "aria-label": "Views" },
      Object.entries(VIEWS).map(([each, view]) =>
        h("a", { key: each, href: `#${each}`, "aria-current": each === name ? "page" : null }, view.title)),
      h("a", { key: "saq", href: SAQ }, "saq")),
    state.caller && h("div", { class: "who" },
      admin && freshness(),
      h("span", { class: "quiet self" }, short(state.caller.userId), " until ", clock(state.caller.expiresAt)),
      button("Sign out", leaveForGood, { key: "out" })),
  ];
}

function freshness() {
  const { failures, at } = sources;
  return h("span", { class: "fresh", key: "fresh" },
    failures ? badge("bad", "not current") : badge(state.paused ? "warn" : "good", state.paused ? "stopped" : "live"),
    at && h("span", { class: "quiet" }, " ", moment(new Date(at).toISOString())), " ",
    button(state.paused ? "Go on" : "Stop", () => {
      state.paused = !state.paused;
      draw();
      schedule();
    }, { name: state.paused ? "Refresh again by itself" : "Stop refreshing", key: "pause" }));
}

function body() {
  if (!state.begun) return [h("p", { class: "quiet", "aria-busy": "true" }, "Loading…")];
  if (state.away) return [away()];
  if (!state.caller) return [signedOut()];
  if (!state.caller.isAdmin) return [notAdmin()];
  const { name } = here();
  return [h("h1", { key: `title ${name}`, class: "hidden" }, VIEWS[name].title), ...VIEWS[name].render(context).flat()];
}

function signedOut() {
  const submit = (event) => {
    event.preventDefault();
    const ticket = ticketIn(new FormData(event.target).get("ticket"));
    if (ticket) enter(ticket);
    else {
      state.problem = "That is no ticket, nor an address with one.";
      draw();
    }
  };
  return h("section", { key: "door", class: "panel door" },
    h("h1", {}, "You are signed out"),
    state.problem && notice("bad", state.problem),
    h("p", {}, "A ticket lets this browser in. Where your token is, run"),
    h("pre", {}, "coursegen admin open"),
    h("p", {}, "and open the address that it prints within a minute, or put it in here:"),
    h("form", { onsubmit: submit },
      h("label", { class: "field" }, h("span", {}, "Ticket or its address"),
        h("input", { name: "ticket", required: true, autocomplete: "off", spellcheck: "false" })),
      h("button", { type: "submit", class: "primary" }, "Sign in")));
}

const away = () => h("section", { key: "away", class: "panel door" },
  h("h1", {}, "Not available just now"), notice("bad", state.away, " Trying again…"));

const notAdmin = () => h("section", { key: "refused", class: "panel door" },
  h("h1", {}, "For administrators only"),
  h("p", {}, "You are signed in as ", h("code", {}, state.caller.userId),
    ", whose token does not have the role ", h("code", {}, "admin"), " (claim ", h("code", {}, "app_metadata.role"), ")."),
  h("p", {}, "Sign out, and come back with another ticket."));

// ---- staying fresh

async function refresh() {
  if (!state.caller?.isAdmin) return;
  state.running ??= load().finally(() => {
    state.running = null;
  });
  await state.running;
  schedule();
}

async function load() {
  const view = VIEWS[here().name];
  // What a view needs may depend on what it has just been told; twice is enough for the longest chain.
  await sources.load(view.sources(context));
  await sources.load(view.sources(context).filter((path) => !sources.isKnown(path)));
  if (sources.refusal?.status === 401) return leave(sources.refusal.message);
  draw();
}

function schedule() {
  clearTimeout(state.timer);
  if (state.paused || document.hidden || !state.caller?.isAdmin) return;
  state.timer = setTimeout(refresh, Math.min(SLOWEST_MS, REFRESH_MS * 2 ** sources.failures));
}

// ---- coming and going

async function enter(ticket) {
  state.problem = null;
  const before = state.caller ?? await whoami().catch(() => null);
  try {
    state.caller = await signIn(ticket);
    sources.forget();
    // A link from somebody else may hold his ticket: whoever follows it shall know in whose name he works now.
    if (before && before.userId !== state.caller.userId) {
      say(`You work as ${state.caller.userId} now; before this ticket it was ${before.userId}.`, "warn");
    }
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    state.caller = await whoami().catch(() => null); // an old ticket does not sign anybody out
    if (state.caller) say(error.message, "bad");
    else state.problem = error.message;
  }
  draw();
  await refresh();
}

function leave(message) {
  Object.assign(state, { caller: null, problem: message });
  sources.forget();
  draw();
}

async function leaveForGood() {
  try {
    await signOut();
    leave(null);
  } catch (error) {
    failed(error);
  }
}

async function begin() {
  draw();
  const ticket = ticketFromAddress();
  if (ticket) await enter(ticket);
  else await identify();
  state.begun = true;
  draw();
  await refresh();
}

// An api that cannot say who is here just now has signed nobody out: it is asked again.
async function identify() {
  try {
    state.caller = await whoami();
    state.away = null;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    state.away = error.message;
    setTimeout(async () => {
      await identify();
      draw();
      await refresh();
    }, REFRESH_MS);
  }
}

window.addEventListener("hashchange", async () => {
  const ticket = ticketFromAddress(); // opened in a window that shows the page already
  if (ticket) return enter(ticket);
  draw();
  main.focus({ preventScroll: true });
  window.scrollTo(0, 0);
  await state.running;
  return refresh();
});
document.addEventListener("visibilitychange", () => (document.hidden ? schedule() : refresh()));
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the fragment names views
  main.focus();
});

await begin();
