// Addresses of views: `#/run/3/rounds?above_zero=1`, so that a view can be sent to somebody.

export interface Route {
  /** A run's number, or `latest`. */
  run: string;
  view: string;
  /** What follows the view: a height, a node, an event. */
  parts: string[];
  query: URLSearchParams;
  /** What an address names that there cannot be: a page, or a run whose number is none. */
  unknown: string | null;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function readRoute(hash: string): Route {
  const [address = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const parts = address.split("/").map(decode);
  const named = parts[0] === "run" ? (parts[1] ?? "") : "";
  const fits = named === "" || named === "latest" || /^\d{1,15}$/.test(named);
  const rest = parts[0] === "run" ? parts.slice(2) : [];
  return {
    run: fits && named !== "" ? named : "latest",
    view: rest[0] || "overview",
    parts: rest.slice(1),
    query: new URLSearchParams(query),
    unknown: !fits ? `run “${named}”` : parts[0] !== "run" && parts[0] !== "" ? `page “${parts[0]}”` : null,
  };
}

export type Parameters = Record<string, string | number | boolean | null | undefined>;

export function writeRoute(run: string | number, view: string, parts: (string | number)[] = [], parameters: Parameters = {}): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "" && value !== false) query.set(name, value === true ? "1" : String(value));
  }
  const text = query.toString();
  return `#/${["run", run, view, ...parts].map((part) => encodeURIComponent(part)).join("/")}${text ? `?${text}` : ""}`;
}

/** A whole number out of a query, or null. */
export function wholeNumber(text: string | null): number | null {
  return text !== null && /^\d{1,15}$/.test(text) ? Number(text) : null;
}
