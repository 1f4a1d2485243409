// Numbers, times and names as people read them.

import { h } from "./dom.js";

const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const MINUTE = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const SPANS = [[86_400, "d"], [3_600, "h"], [60, "min"], [1, "s"]];

/** Stands for what is not there. */
export const NONE = "–";

export const number = (value) => (value === null || value === undefined ? NONE : value.toLocaleString());

/** `1 thing`, `2 things`. */
export const count = (amount, one, many = `${one}s`) => `${number(amount)} ${amount === 1 ? one : many}`;

/** A signed number: `+2`, `0`, `−1`. */
export const signed = (value) => (value > 0 ? `+${number(value)}` : value < 0 ? `−${number(-value)}` : "0");

/** Seconds in their two largest units: `3 min 20 s`. */
export function span(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)} s`;
  let rest = Math.round(seconds);
  const parts = [];
  for (const [size, unit] of SPANS) {
    const amount = Math.floor(rest / size);
    rest -= amount * size;
    if (amount || parts.length) parts.push(amount ? `${amount} ${unit}` : null);
    if (parts.length === 2) break;
  }
  return parts.filter(Boolean).join(" ");
}

/** A moment: today's by the clock, others with their day; the exact one on hover. */
export function moment(text) {
  if (!text) return NONE;
  const at = new Date(text);
  const today = at.toDateString() === new Date().toDateString();
  return h("time", { datetime: text, title: text }, (today ? CLOCK : DAY).format(at));
}

/** The time of day, without seconds. */
export const clock = (text) => h("time", { datetime: text, title: text }, MINUTE.format(new Date(text)));

/** An identifier. The whole of it is there: it is only cut off for the eye, and one click selects it. */
export const short = (id) => (id ? h("code", { class: "id", title: id }, id) : NONE);
