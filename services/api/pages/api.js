// Calls of the api. The cookie goes along by itself; what changes something carries this page's origin, as browsers see to it.

const PATIENCE_MS = 15_000;

/** The api's own words for what went wrong; status 0 when it did not answer at all. */
export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export const get = (path) => call("GET", path);
export const post = (path, body) => call("POST", path, body ?? {});
export const put = (path, body) => call("PUT", path, body);
export const remove = (path) => call("DELETE", path);

async function call(method, path, body) {
  const options = { method, cache: "no-store", credentials: "same-origin", signal: AbortSignal.timeout(PATIENCE_MS) };
  if (body !== undefined) {
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new ApiError(0, "unreachable", "The api does not answer.");
  }
  const text = await response.text();
  const document = parsed(text);
  if (response.ok) return document;
  const { code = "unknown", message = `The api answered ${response.status}.` } = document?.error ?? {};
  throw new ApiError(response.status, code, message);
}

function parsed(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}

/** A path with those parameters that have a value. */
export function withQuery(path, parameters) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== null && value !== ""));
  return query.size ? `${path}?${query}` : path;
}
