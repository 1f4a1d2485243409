// Who is signed in. The cookie is out of a script's reach; the page only knows what the api says of it.

import { ApiError, get, post, remove } from "./api.js";

const SESSIONS = "/api/sessions";

/** The ticket in a text that holds one: the address that `coursegen admin open` prints, or the ticket alone. */
export const ticketIn = (text) => /(?:^|ticket=)([A-Za-z0-9_-]{43})$/.exec(text.trim())?.[1] ?? null;

/** Take a ticket out of this page's own address, where nobody shall find it again. */
export function ticketFromAddress() {
  const ticket = ticketIn(location.hash);
  if (location.hash.includes("ticket=")) history.replaceState(null, "", location.pathname);
  return ticket;
}

/** Exchange a ticket; who is then signed in. */
export const signIn = (ticket) => post(SESSIONS, { ticket });

/** End the session. */
export const signOut = () => remove(SESSIONS);

/** Who is signed in; null when nobody is. */
export async function whoami() {
  try {
    return await get(SESSIONS);
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return null;
    throw error;
  }
}
