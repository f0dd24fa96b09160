// Numbers as a person reads them. Times are UTC; every unit is named.
import type { Stamp } from "./data";

const GROUPS = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const NOT_KNOWN = "–";
/** Between a number and its unit no line ends. */
const GAP = "\u00a0";

/** Something that is not known, or does not apply. */
export const none = NOT_KNOWN;

export function count(value: number | null | undefined): string {
  return value === null || value === undefined ? NOT_KNOWN : GROUPS.format(value);
}

/** A count that may be too small, because more may have passed than was seen. */
export function atLeast(text: string, lower: boolean | number): string {
  return lower && text !== NOT_KNOWN ? `≥${GAP}${text}` : text;
}

export function counted(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

function digits(value: number): string {
  const size = Math.abs(value);
  return value.toFixed(size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2);
}

export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return NOT_KNOWN;
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let rest = value;
  let unit = 0;
  while (Math.abs(rest) >= 999.5 && unit + 1 < units.length) {
    rest /= 1000;
    unit++;
  }
  return `${unit === 0 ? GROUPS.format(rest) : digits(rest)}${GAP}${units[unit]}`;
}

/** A span of time. */
export function duration(nanoseconds: number | null | undefined): string {
  if (nanoseconds === null || nanoseconds === undefined) return NOT_KNOWN;
  const size = Math.abs(nanoseconds);
  if (size === 0) return `0${GAP}s`;
  if (size < 1e3) return `${GROUPS.format(nanoseconds)}${GAP}ns`;
  if (size < 999.5e3) return `${digits(nanoseconds / 1e3)}${GAP}µs`;
  if (size < 999.5e6) return `${digits(nanoseconds / 1e6)}${GAP}ms`;
  if (size < 120e9) return `${digits(nanoseconds / 1e9)}${GAP}s`;
  if (size < 7200e9) return `${digits(nanoseconds / 60e9)}${GAP}min`;
  if (size < 48 * 3600e9) return `${digits(nanoseconds / 3600e9)}${GAP}h`;
  return `${digits(nanoseconds / 86400e9)}${GAP}days`;
}

export function factor(messages: number | null, useful: number | null): string {
  return messages === null || !useful ? NOT_KNOWN : `${(messages / useful).toFixed(2)}${GAP}×`;
}

export function percent(part: number, whole: number): string {
  if (!whole) return NOT_KNOWN;
  const share = (100 * part) / whole;
  return `${share > 0 && share < 1 ? `<${GAP}1` : share > 99 && share < 100 ? `>${GAP}99` : Math.round(share) || 0}${GAP}%`;
}

export function signed(text: string, value: number): string {
  return value > 0 ? `+${text}` : text.replace(/^-/, "−");
}

export function milli(value: number | null | undefined): string {
  return value === null || value === undefined ? NOT_KNOWN : (value / 1000).toFixed(1).replace(/^-/, "−");
}

/** Nanoseconds from `from` to `to`, exactly; null where one of them is not known. */
export function since(from: Stamp | null, to: Stamp | null): number | null {
  return from === null || to === null ? null : Number(BigInt(to) - BigInt(from));
}

/** The earliest of some times. */
export function earliest(times: (Stamp | null)[]): Stamp | null {
  let found: bigint | null = null;
  for (const time of times) {
    if (time !== null && (found === null || BigInt(time) < found)) found = BigInt(time);
  }
  return found === null ? null : found.toString();
}

/** Seconds since 1970, as charts want them. */
export function seconds(stamp: Stamp): number {
  return Number(BigInt(stamp) / 1000000n) / 1000;
}

/** A time with its date, to the millisecond. */
export function time(stamp: Stamp | null | undefined): string {
  if (stamp === null || stamp === undefined) return NOT_KNOWN;
  const date = new Date(Number(BigInt(stamp) / 1000000n));
  return Number.isNaN(date.getTime()) ? NOT_KNOWN : date.toISOString().replace("T", " ").replace("Z", " UTC");
}

/** A time without its date, to the minute. */
export function minute(stamp: Stamp): string {
  return `${new Date(Number(BigInt(stamp) / 1000000n)).toISOString().slice(0, 16).replace("T", " ")} UTC`;
}

/** A word of the store in a reader's words: `no_preprepare` as `no preprepare`. */
export function words(name: string | null | undefined): string {
  return name ? name.replaceAll("_", " ") : NOT_KNOWN;
}

/** The part of a capture that a run is of, in words: the store keeps it as JSON. */
export function selected(selection: string): string {
  let part: unknown;
  try {
    // Nanoseconds have more digits than a number keeps.
    part = JSON.parse(selection.replace(/("(?:from|to)_ns":)(-?\d+)/g, '$1"$2"'));
  } catch {
    return selection;
  }
  if (part === null || typeof part !== "object" || Array.isArray(part)) return selection;
  const { from_ns, to_ns, first_sequence: first, last_sequence: last, ports } = part as Record<string, unknown>;
  const said: string[] = [];
  if (typeof from_ns === "string") said.push(`from ${time(from_ns)}`);
  if (typeof to_ns === "string") said.push(`to ${time(to_ns)}`);
  if (typeof first === "number" && typeof last === "number") said.push(first === last ? `height ${count(first)}` : `heights ${count(first)} to ${count(last)}`);
  else if (typeof first === "number") said.push(`heights from ${count(first)}`);
  else if (typeof last === "number") said.push(`heights to ${count(last)}`);
  if (Array.isArray(ports) && ports.length > 0) said.push(`${ports.length === 1 ? "port" : "ports"} ${ports.join(", ")}`);
  return said.join(", ") || selection;
}

/** The middle of a long hash is of no use to a reader; the whole of it stays in the title and can be copied. */
export function short(hash: string): string {
  return /^0x[0-9a-f]{20,}$/.test(hash) ? `${hash.slice(0, 8)}…${hash.slice(-4)}` : hash;
}

/** A chain in short: its network id and the ends of its genesis hash. */
export function shortChain(chain: string): string {
  const [network, genesis] = chain.split("/");
  return genesis ? `${network}/${short(genesis)}` : chain;
}

export function median(values: number[]): number | null {
  if (!values.length) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? null;
}
