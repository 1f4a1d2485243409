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

  /** Whether something that was asked for last could not be had. */
  failing = false;

  /** Ask for all of these, side by side; an error is kept beside the older data. */
  async load(paths) {
    if (!paths.length) return;
    const answers = await Promise.all(paths.map((path) => this.#ask(path)));
    this.failing = answers.some((answer) => answer.error);
    this.refusal = answers.find((answer) => answer.error?.status === 401)?.error ?? null;
    if (!this.failing) this.at = Date.now();
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
    this.failing = false;
    this.refusal = null;
  }
}
