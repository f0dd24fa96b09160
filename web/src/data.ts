// Where the page has its data from: the document itself, if it is a file that `--html` wrote, else the server's JSON API.

/** What could not be had, and why, in words for a person. */
export class DataError extends Error {
  constructor(
    message: string,
    readonly kind: "absent" | "login" | "busy" | "unreachable" | "refused",
  ) {
    super(message);
  }
}

/**
 * A time in nanoseconds since 1970. It has more digits than a number holds exactly, so the text of the digits is kept; only what
 * is short enough to be exact stays a number.
 */
export type Stamp = string | number;

const LONG_TIME = /"([a-z0-9_]*_ns)":\s*(-?\d{16,})(?=\s*[,}\]])/g;

/**
 * Parses JSON, with long times as text. A name with its quotes in front of a colon is never inside of a text: quotes in texts
 * have a backslash before them, which the pattern does not have.
 */
export function parse(text: string): unknown {
  return JSON.parse(text.replace(LONG_TIME, '"$1":"$2"'));
}

let embedded: Record<string, unknown> | null = null;
const element = document.getElementById("bftap-data");
if (element?.textContent) embedded = parse(element.textContent) as Record<string, unknown>;

/** Whether this document carries its data with it, and nothing is ever fetched. */
export const isFile = embedded !== null;

/** Whether the file has an answer to a path. */
export function has(path: string): boolean {
  return embedded !== null && Object.hasOwn(embedded, path);
}

/** The answer to a path of the API. */
export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  if (embedded) {
    if (!Object.hasOwn(embedded, path)) throw new DataError("This is not in this file.", "absent");
    return embedded[path] as T;
  }
  let response: Response;
  try {
    response = await fetch(path, { signal, credentials: "same-origin", headers: { accept: "application/json" } });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new DataError("The server cannot be reached.", "unreachable");
  }
  let body: unknown;
  try {
    body = parse(await response.text());
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new DataError(`The server answered with status ${response.status} and no JSON.`, "refused");
  }
  if (response.ok) return body as T;
  const said = body && typeof body === "object" && "error" in body ? String(body.error) : `status ${response.status}`;
  if (response.status === 401) throw new DataError(said, "login");
  if (response.status === 503 || response.status === 429) throw new DataError(`The server is busy: ${said}`, "busy");
  throw new DataError(said, response.status === 404 ? "absent" : "refused");
}

/** Shows the server the token. Whether it was right. */
export async function login(token: string): Promise<boolean> {
  const response = await fetch("/login", {
    method: "POST",
    credentials: "same-origin",
    headers: { "content-type": "application/x-www-form-urlencoded" },
    body: new URLSearchParams({ token }),
  });
  return response.ok;
}

/** A path with parameters; those that are empty are left out, so that a view's first state has the canonical path. */
export function path(base: string, parameters: Record<string, string | number | boolean | null | undefined> = {}): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "" && value !== false) {
      query.set(name, value === true ? "1" : String(value));
    }
  }
  const text = query.toString();
  return text ? `${base}?${text}` : base;
}
