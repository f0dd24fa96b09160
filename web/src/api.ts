// What the API answers (docs/web-api.md), as far as the page uses it. Rows have the columns of docs/SCHEMA.md.
import type { Stamp } from "./data";

export type Kind = "preprepare" | "prepare" | "commit" | "roundchange";
export const KINDS: readonly Kind[] = ["preprepare", "prepare", "commit", "roundchange"];

export interface Run {
  run_id: number;
  name: string;
  state: string;
  problem: string | null;
  source: string;
  program_version: string;
  started_ns: Stamp;
  finished_ns: Stamp | null;
  batches: number;
  first_seen_ns: Stamp | null;
  last_seen_ns: Stamp | null;
  packets: number;
  bytes: number;
  tcp_packets: number;
  sessions: number;
  refused: number;
  other_flows: number;
  frames: number;
  consensus_messages: number;
  undecodable: number;
  gaps: number;
  lost_bytes: number;
  incomplete_bytes: number;
  bad_checksums: number;
  selection: string | null;
  frames_lost: number | null;
  live: boolean;
  pace_milli: number | null;
  written_ns: Stamp | null;
  seen_ns: Stamp | null;
  lag_ns: number | null;
  thinned_before_ns: Stamp | null;
}

export interface Chain {
  chain_id: number;
  chain: string;
}

export interface Runs {
  version: string;
  schema: number;
  runs: Run[];
}

export interface RunAnswer {
  run: Run;
  chains: Chain[];
}

export interface Sums {
  messages: number;
  useful: number;
  repeats: number;
  echoes: number;
  invalid: number;
  bytes: number;
  rows: number;
  rows_lower_bound: number;
}

export interface Phase {
  chain_id: number;
  phase: string;
  rounds: number;
  p50_ns: number;
  p95_ns: number;
  p99_ns: number;
  max_ns: number;
  /** Where it was longest; null if that is not among the newest heights. */
  longest: { sequence: number; round: number } | null;
}

export interface StateCount {
  state: string;
  sessions: number;
}

export interface Summary {
  totals: Sums & { by_kind: (Sums & { kind: Kind })[] };
  rounds: {
    rounds: number;
    higher_rounds: number;
    committed: number;
    lowest_sequence: number | null;
    highest_sequence: number | null;
    /** Rounds that are only spoken of: they are among no other number. */
    claimed: number;
    /** Why rounds were left for a higher one. */
    causes: { cause: string | null; rounds: number }[];
  };
  events: {
    critical: number;
    warning: number;
    info: number;
    suspicious: number;
    rules: { rule: string; severity: string; suspicious: boolean; events: number }[];
    /** Who is behind those that no honest node shows, the worst first; `node`: whether the name is a node's. */
    behind: { nodes: { name: string | null; node: boolean; severity: string | null; rules: { rule: string; events: number }[] }[]; more: number };
  };
  sessions: StateCount[];
  phases: Phase[];
  captures_cut: number;
  validators: number;
}

export interface Participation {
  chain_id: number;
  validator: string;
  rounds: number;
  proposals_due: number;
  proposals: number;
  prepares: number;
  commits: number;
  roundchanges: number;
  late: number;
  partial: number;
  missing: number;
  unknown: number;
  invalid: number;
  commit_delay_p50_ns: number | null;
  commit_delay_p95_ns: number | null;
}

export interface Score {
  score_milli: number;
  time_in_mesh_milli: number;
  first_deliveries_milli: number;
  delivery_deficit_milli: number;
  invalid_milli: number;
  colocation_milli: number;
  behaviour_milli: number;
}

export interface Delay {
  chain_id: number;
  node_ip: string;
  payloads: number;
  exact: number;
  p50_ns: number | null;
  p95_ns: number | null;
  p99_ns: number | null;
  max_ns: number | null;
}

export interface Node extends Sums {
  node_number: number;
  label: string;
  name: string | null;
  node_id: string | null;
  address: string | null;
  client: string | null;
  role: string | null;
  coverage: string;
  validator: boolean;
  ips: string[];
  participation: Participation[];
  score: Score | null;
  /** Not there before schema 5. */
  delays?: Delay[];
  /** Events that blame it and that no honest node shows, by severity. */
  suspicious: { critical: number; warning: number; info: number };
}

/** Numbers of a validator's participation that count votes: what is amiss first. */
export const COUNTED = ["missing", "partial", "late", "unknown", "proposals", "prepares", "commits", "roundchanges"] as const;
export type Counted = (typeof COUNTED)[number];

export interface Point {
  sequence: number | null;
  minute_ns: Stamp | null;
  preprepare: number;
  prepare: number;
  commit: number;
  roundchange: number;
  messages: number;
  useful: number;
  lower_bound: boolean | number;
}

export interface Traffic {
  by: "sequence" | "minute";
  points: Point[];
  first: number | null;
  last: number | null;
  /** Minutes before this one are not among the points; null where all are. */
  since_ns: Stamp | null;
  /** Messages of rounds that are only spoken of: they are not among the points. */
  claimed: number;
  /** Names of those who received anything in the run. */
  receivers: string[];
}

export interface Link {
  receiver: string;
  sender: string;
  messages: number;
  useful: number | null;
  wasted: number | null;
  bytes: number | null;
}

export interface Matrix {
  nodes: string[];
  since_ns: Stamp | null;
  until_ns: Stamp | null;
  links: Link[];
}

export interface Copies {
  receivers: { receiver_ip: string; receiver: string; histogram: [number, number][] }[];
}

export interface WhatIf {
  chain_id: number;
  policy: string;
  payloads: number;
  messages: number;
  bytes: number;
  not_delivered: number;
  delay_p50_ns: number | null;
  delay_p95_ns: number | null;
}

export interface Redundancy {
  waste: { kind: Kind; cause: string; copies: number; bytes: number }[];
  links: { receiver: string; sender: string; copies: number; bytes: number }[];
  what_if: WhatIf[];
}

export interface Round {
  chain_id: number;
  sequence: number;
  round: number;
  proposer: string | null;
  validators: number | null;
  quorum: number | null;
  preprepare_ns: Stamp | null;
  prepared_ns: Stamp | null;
  committed_ns: Stamp | null;
  messages: number;
  outcome: string;
  cause: string | null;
  block_time_ns: number | null;
  /** `claimed` rounds are only spoken of, and are counted nowhere; not there in runs of earlier schemas. */
  standing?: string | null;
}

export interface Rounds {
  rounds: Round[];
  more: boolean;
  next: string | null;
}

export interface Event {
  event_number: number;
  time_ns: Stamp;
  rule: string;
  severity: string;
  signer: string | null;
  sender: string | null;
  chain_id: number;
  sequence: number | null;
  round: number | null;
  detail: string;
  suspicious: boolean;
  kind: string | null;
  node_id: string | null;
  address: string | null;
  ip: string | null;
  /** Text where it was cut to fit into the store, and is no JSON any more. */
  numbers: Record<string, unknown> | string | null;
  payloads: string[] | string | null;
}

export interface Events {
  events: Event[];
  more: boolean;
  next: number | null;
}

export interface TcpLink {
  sender_ip: string;
  sender: string;
  receiver_ip: string;
  receiver: string;
  segments: number;
  bytes: number;
  retransmissions: number;
  rtt_samples: number;
  rtt_min_ns: number | null;
  rtt_mean_ns: number | null;
  rtt_max_ns: number | null;
  rtt_smoothed_ns: number | null;
  one_way_samples: number;
  one_way_min_ns: number | null;
  one_way_mean_ns: number | null;
  skew_ns: number | null;
}

export interface Peer {
  peer_number: number;
  node: string;
  node_id: string | null;
  ips: string | string[] | null;
  client: string | null;
  software: string | null;
  version: string | null;
  offers: string;
  network_id: number | null;
  head: string | null;
  total_difficulty: string | null;
  behind: string | null;
  role: string | null;
  dials_out: number;
  dials_in: number;
  refused_out: number;
  refused_in: number;
  useless: number;
  sessions: number;
  session_p50_ns: number | null;
  reconnects: number;
  reconnect_p50_ns: number | null;
  disconnects: { direction: string; reason: string; disconnects: number }[];
}

export interface Dial {
  initiator_ip: string;
  initiator: string;
  recipient_ip: string;
  recipient: string;
  dials: number;
  refused: number;
  useless: number;
  first_seen_ns: Stamp;
  last_seen_ns: Stamp;
}

export interface Peers {
  peers: Peer[];
  dials: Dial[];
  census: { list: string; value: string; total: number }[];
}

export interface Session {
  session_number: number;
  chain_id: number;
  initiator: string;
  recipient: string;
  initiator_ip: string;
  recipient_ip: string;
  state: string;
  attached: string | null;
  mac: string | null;
  frames_from_initiator: number;
  frames_from_recipient: number;
  frames_lost_from_initiator: number | null;
  frames_lost_from_recipient: number | null;
  gaps: number;
  lost_bytes: number;
  incomplete_bytes: number;
  capabilities: string;
  bytes_from_initiator: number;
  bytes_from_recipient: number;
  initiator_client: string | null;
  recipient_client: string | null;
  detail: string | null;
  first_seen_ns: Stamp;
  last_seen_ns: Stamp;
}

export interface Sessions {
  sessions: Session[];
  more: boolean;
  next: number | null;
}

export interface Progress {
  batch: number;
  written_ns: Stamp;
  seen_ns: Stamp | null;
  lag_ns: number;
  rows_written: number;
  spooled_batches: number;
  spooled_bytes: number;
  gaps: number;
  lost_bytes: number;
  undecodable: number;
  unread_sessions: number;
}

export interface Health {
  run: Run;
  captures: {
    capture_number: number;
    path: string;
    sha256: string;
    packets: number;
    bytes: number;
    problem: string | null;
    kernel_drops: number | null;
    interface_drops: number | null;
    times_down: number | null;
  }[];
  counters: { list: string; name: string; value: number }[];
  codes: { capability: string; wire_code: number; name: string; frames: number; bytes: number }[];
  progress: Progress[];
  sessions: StateCount[];
  broken: Session[];
}

export interface Count extends Omit<Sums, "rows" | "rows_lower_bound"> {
  receiver_ip: string;
  receiver: string;
  round: number;
  kind: Kind;
  lower_bound: boolean;
  first_seen_ns: Stamp;
  last_seen_ns: Stamp;
}

export interface NodeRound {
  round: number;
  node_ip: string;
  node: string;
  preprepare_ns: Stamp | null;
  prepared_ns: Stamp | null;
  committed_ns: Stamp | null;
  roundchange_ns: Stamp | null;
  lower_bound: boolean;
}

export interface Vote {
  round: number;
  kind: Kind;
  signer: string;
  position: number;
  digest: string | null;
  first_ns: Stamp | null;
  first_sender: string | null;
  reached: number;
  of_nodes: number;
  not_reached: string | string[] | null;
  state: string;
}

/** A vote in a list of one validator, with what became of its round. */
export interface NodeVote extends Vote {
  chain_id: number;
  sequence: number;
  outcome: string;
}

export interface Votes {
  signer: string;
  votes: NodeVote[];
  more: boolean;
  next: string | null;
  /** Down to which height was looked; null: to the lowest. */
  scanned_to: number | null;
}

export interface Sequence {
  sequence: number;
  chain_id: number;
  rounds: Round[];
  counts: Count[];
  node_rounds: NodeRound[];
  votes: Vote[];
  events: Event[];
  previous: number | null;
  next: number | null;
  more: boolean;
}

export interface Delivery {
  receiver_ip: string;
  receiver: string;
  sender: string;
  signer: string;
  sequence: number;
  round: number;
  kind: Kind;
  copies: number;
  first_seen_ns: Stamp;
  last_seen_ns: Stamp;
}

export interface Messages {
  messages: Delivery[];
  more: boolean;
}

export interface Measure {
  measure: string;
  unit: string;
  a: number | null;
  b: number | null;
  difference: number | null;
  low: number | null;
  high: number | null;
  beyond_chance: boolean | null;
}

export interface Comparison {
  runs: {
    run: string;
    store?: string;
    heights: number;
    validators: number;
    receivers: string[];
    full_coverage: number;
    unread_sessions: number;
    lost_bytes: number;
    /** How many of each rule. */
    suspicious_events: Record<string, number>;
  }[];
  comparable: boolean;
  reasons: string[];
  measures: Measure[];
}

export interface Update {
  run_id: number;
  state: string;
  live: boolean;
  batches: number;
  written_ns: Stamp | null;
  seen_ns: Stamp | null;
  lag_ns: number | null;
}

/** A list that the store keeps as JSON in a text, or the API already as a list. */
export function list(value: string | string[] | null): string[] {
  if (value === null) return [];
  if (Array.isArray(value)) return value;
  try {
    const parsed: unknown = JSON.parse(value);
    return Array.isArray(parsed) ? parsed.map(String) : [value];
  } catch {
    return [value];
  }
}
