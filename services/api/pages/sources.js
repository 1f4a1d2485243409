// What the api last said, by path, and when: a failure does not take away what is known.

import { ApiError, get } from "./api.js";

const NOTHING = { data: null, error: null };
const MOST = 60;

export class Sources {
  #known = new Map();
  at = null;
  refusal = null;

  /** What is known of a path: {data, error}. */
  read = (path) => this.#known.get(path) ?? NOTHING;

  /** Whether a path has been asked for, whatever came of it. */
  isKnown = (path) => this.#known.has(path);

  /** How many looks in a row have not got all that they asked for. */
  failures = 0;

  /** Ask for all of these, side by side; an error is kept beside the older data. */
  async load(paths) {
    if (!paths.length) return;
    const answers = await Promise.all(paths.map((path) => this.#ask(path)));
    this.failures = answers.some((answer) => answer.error) ? this.failures + 1 : 0;
    this.refusal = answers.find((answer) => answer.error?.status === 401)?.error ?? null;
    if (!this.failures) this.at = Date.now();
    for (const path of this.#known.keys()) if (this.#known.size > MOST && !paths.includes(path)) this.#known.delete(path);
  }

  async #ask(path) {
    let answer;
    try {
      answer = { data: await get(path), error: null };
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      answer = { data: error.status === 0 || error.status >= 500 ? this.read(path).data : null, error };
    }
    this.#known.delete(path); // the latest is the last
    this.#known.set(path, answer);
    return answer;
  }

  /** Forget everything: somebody else may sit here now. */
  forget() {
    this.#known.clear();
    this.at = null;
    this.failures = 0;
    this.refusal = null;
  }
}
