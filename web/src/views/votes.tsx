// The votes of one validator, the latest first: where the numbers of its participation lead.
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { COUNTED, type Counted, KINDS, type Node, type NodeVote, type Run, type Votes, list } from "../api";
import { DataError, get, has, isFile, path } from "../data";
import { BUSY, type Loaded, useData, useHref, useRunPath, useShown } from "../context";
import { count, counted as numberOf, none, short, time, words } from "../format";
import { Pager, type Paging, STEP, usePaging } from "../paging";
import { type Column, Hash, Loading, NodeLink, Select, SequenceLink, Table, Time, useChains } from "../ui";
import { wholeNumber } from "../route";
import { tallied } from "./nodes";
import { STATES } from "./sequence";

/** What each number counts, as it is said of a list. */
const ABOUT: Record<Counted, string> = {
  missing: "commits of decided rounds that were seen nowhere, and no loss can hide that",
  partial: "votes that reached some nodes and not others",
  late: "votes that came after the last node had its quorum",
  unknown: "commits of decided rounds that were not seen, and that loss or missing coverage may hide",
  proposals: "rounds that it proposed",
  prepares: "decided rounds with its prepare",
  commits: "decided rounds with its commit",
  roundchanges: "rounds that it asked for",
};

/** Numbers whose name is not a word. */
const NAMES: Partial<Record<Counted, string>> = { roundchanges: "round changes" };

/** Most questions for one view: a list of few votes far apart takes several, each of which goes down a part of the run. */
const QUESTIONS = 60;

/** After a list that took long, so many times as long passes before it is asked for once more while the run grows. */
const REST = 9;

interface Filter {
  signer: string;
  counted: string | null;
  chain: string | number | null;
  kind: string | null;
  state: string | null;
}

interface Found {
  votes: NodeVote[];
  more: boolean;
  next: string | null;
  /** Down to which height was looked; null: to the lowest. */
  scannedTo: number | null;
  /** Whether more of it is on its way. */
  going: boolean;
}

/** Asks for a list until it is long enough, or all was looked through. */
function useVotes(base: string, filter: Filter, before: string | null, paging: Paging): Loaded<Found> {
  const { tick, needLogin } = useShown();
  // Another length is another question, but about the same list: what is drawn of it stays until there is more.
  const list = path(base, { ...filter, before });
  const key = path(base, { ...filter, before, limit: paging.asked });
  const [held, setHeld] = useState<{ list: string; key: string; data: Found | null; error: DataError | null }>({ list, key, data: null, error: null });
  const [again, setAgain] = useState(0);
  const state = useRef({ busy: true, missed: false, tick, earliest: 0 });
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);

  useEffect(() => {
    const abort = new AbortController();
    const begun = performance.now();
    const mine = { busy: true, missed: false, tick, earliest: 0 };
    state.current = mine;
    const ask = async (): Promise<void> => {
      let votes: NodeVote[] = [];
      let from = before;
      for (let asked = 1; ; asked++) {
        const rest = paging.limit - votes.length;
        const answer = await get<Votes>(path(base, { ...filter, before: from, limit: rest === STEP ? null : rest }), abort.signal);
        votes = [...votes, ...answer.votes];
        from = answer.next;
        const going = answer.next !== null && votes.length < paging.limit && asked < QUESTIONS && !isFile;
        const data: Found = { votes, more: answer.more, next: answer.next, scannedTo: answer.scanned_to, going };
        // A list that is drawn already is not taken away while it is looked for once more.
        setHeld((shown) => (going && shown.list === list && shown.data && !shown.data.going ? shown : { list, key, data, error: null }));
        if (!going) return;
      }
    };
    ask()
      .catch((error: unknown) => {
        if (abort.signal.aborted) return;
        const known = error instanceof DataError ? error : new DataError(String(error), "refused");
        if (known.kind === "login") needLogin();
        if (known.kind === "busy") timer.current = setTimeout(() => setAgain((n) => n + 1), BUSY);
        setHeld((shown) => ({ list, key, data: shown.list === list && shown.data && known.kind !== "absent" ? { ...shown.data, going: false } : null, error: known }));
      })
      .finally(() => {
        if (abort.signal.aborted) return;
        mine.busy = false;
        const now = performance.now();
        mine.earliest = now + REST * (now - begun);
        if (mine.missed) timer.current = setTimeout(() => setAgain((n) => n + 1), mine.earliest - now);
      });
    return () => {
      abort.abort();
      clearTimeout(timer.current);
    };
  }, [key, again]);

  useEffect(() => {
    const now = state.current;
    if (now.tick === tick) return;
    now.tick = tick;
    if (now.busy) {
      now.missed = true;
      return;
    }
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setAgain((n) => n + 1), Math.max(0, now.earliest - performance.now()));
  }, [tick]);

  const current = held.key === key;
  return { data: held.list === list ? held.data : null, error: current ? held.error : null, stale: !current, retry: () => setAgain((n) => n + 1) };
}

/** A number of a validator's votes, which leads to them. In a file only those lead there that are in it. */
export function VotesLink(props: { label: string; counted: Counted; value: number | null | undefined; chain?: number | null }): JSX.Element {
  const { label, counted, value } = props;
  const at = useRunPath();
  const href = useHref();
  const chain = props.chain ?? null;
  const text = count(value);
  if (!value || (isFile && !has(path(at("votes"), { signer: label, counted, chain })))) return <>{text}</>;
  return (
    <a href={href("votes", [label], { counted, chain })} aria-label={`${text} ${NAMES[counted] ?? counted} of ${label}`}>
      {text}
    </a>
  );
}

export function VotesView(): JSX.Element {
  const { route } = useShown();
  const href = useHref();
  const label = route.parts[0];
  if (label === undefined) {
    return (
      <p class="problem">
        Votes are those of a node: choose one of the <a href={href("nodes")}>nodes</a>.
      </p>
    );
  }
  return <VotesOf label={label} />;
}

function VotesOf(props: { label: string }): JSX.Element {
  const { label } = props;
  const { route, run, chains, growing } = useShown();
  const at = useRunPath();
  const href = useHref();
  const chain = wholeNumber(route.query.get("chain"));
  const counted = COUNTED.find((one) => one === route.query.get("counted")) ?? null;
  const kind = route.query.get("kind");
  const state = route.query.get("state");
  const before = route.query.get("before");
  const paging = usePaging();
  const filter: Filter = { signer: label, counted, chain, kind, state };
  const found = useVotes(at("votes"), filter, before, paging);
  const nodes = useData<{ nodes: Node[] }>(at("nodes"));
  const node = nodes.data?.nodes.find((one) => one.label === label);
  const row = chain === null ? node && tallied(node) : node?.participation.find((one) => one.chain_id === chain);
  // The table's number is of all kinds and states that it counts: beside a part of them it would contradict the list.
  const says = counted && node && !kind && !state ? (row?.[counted] ?? 0) : null;
  const go = (change: Partial<Record<"counted" | "kind" | "state" | "chain" | "before", string | number | null>>): void => {
    paging.set(STEP);
    location.hash = href("votes", [label], { counted, chain, kind, state, before: null, ...change });
  };
  const offered = COUNTED.filter((one) => !isFile || one === counted || has(path(at("votes"), { signer: label, counted: one })));
  return (
    <>
      <p>
        <NodeLink label={label} />
        {counted ? `: ${ABOUT[counted]}.` : ": what it signed, and what was due of it and not seen."}
        {says !== null && ` The table of nodes counts ${count(says)}.`}
      </p>
      <div class="choices">
        <Select
          label="Votes"
          value={counted ?? ""}
          options={[...(isFile && counted ? [] : [["", "all"] as [string, string]]), ...offered.map((one): [string, string] => [one, `counted as ${NAMES[one] ?? one}`])]}
          choose={(value) => go({ counted: value || null, kind: null, state: null })}
        />
        {!isFile && (
          <>
            <Select label="Kind" value={kind ?? ""} options={[["", "all kinds"], ...KINDS.map((one): [string, string] => [one, one])]} choose={(value) => go({ kind: value || null })} />
            <Select
              label="State"
              value={state ?? ""}
              options={[["", "all states"], ...Object.keys(STATES).map((one): [string, string] => [one, words(one)])]}
              choose={(value) => go({ state: value || null })}
            />
          </>
        )}
        {chains.length > 1 && !isFile && (
          <Select
            label="Chain"
            value={chain === null ? "" : String(chain)}
            options={[["", "all chains"], ...chains.map((one): [string, string] => [String(one.chain_id), one.chain])]}
            choose={(value) => go({ chain: value || null })}
          />
        )}
      </div>
      <Loading of={found}>
        {(data) => (
          <>
            {(data.going || (found.stale && !found.error)) && <p class="waiting">Looking further down{data.scannedTo !== null && ` than height ${count(data.scannedTo)}`} …</p>}
            <p role="status">
              {!data.going && told(data, before)}
              {data.more && isFile && " What is further down is not in this file."}
            </p>
            {/* A list that is whole, and yet not what was counted, says why. */}
            {says !== null && !growing && !found.stale && before === null && !data.more && data.votes.length < says && (
              <p class="problem">
                {count(says)} are counted and {count(data.votes.length)} stored: {fewer(run, data.votes.length)}
              </p>
            )}
            <Rows label={label} counted={counted} votes={data.votes} />
            {!data.going && <Pager of={data} full={found.stale || data.votes.length >= paging.limit} before={before} paging={paging} go={(to) => go({ before: to })} />}
          </>
        )}
      </Loading>
    </>
  );
}

/** Why fewer votes are stored than were counted. */
function fewer(run: Run, stored: number): string {
  if (run.thinned_before_ns !== null) return `bftap store prune removed the detail of the time before ${time(run.thinned_before_ns)}.`;
  if (stored === 0) return "the run was written without votes (votes = false), or by an earlier version of bftap.";
  return "the rest was not written, or was removed; the count is of the whole run.";
}

/** How much of the list is there. */
function told(found: Found, before: string | null): string {
  const votes = numberOf(found.votes.length, "vote");
  if (!found.more) return before === null ? `${votes}, all of them.` : `${votes}, the earliest of them.`;
  const down = found.scannedTo === null ? "" : ` down to height ${count(found.scannedTo)}`;
  return `${votes}${before === null ? ", the latest" : ""}${down}; there may be more further down.`;
}

function Rows(props: { label: string; counted: Counted | null; votes: NodeVote[] }): JSX.Element {
  const href = useHref();
  const chains = useChains();
  const columns: Column<NodeVote>[] = [
    { name: "sequence", head: true, number: true, cell: (row) => <SequenceLink sequence={row.sequence} chain={row.chain_id} round={row.round} /> },
    { name: "round", number: true, cell: (row) => count(row.round), mark: (row) => (row.round > 0 ? "warning" : undefined) },
    ...(chains.several ? [{ name: "chain", cell: (row: NodeVote) => chains.name(row.chain_id) }] : []),
    {
      name: "kind",
      cell: (row) => (
        <>
          {row.kind} {row.position > 0 && <span class="below">message {row.position + 1}</span>}
        </>
      ),
    },
    { name: "state", cell: (row) => <State vote={row} href={href} /> },
    { name: "first seen", cell: (row) => (row.first_ns === null ? "not seen" : <Time at={row.first_ns} />) },
    { name: "from", about: "who handed over the copy that was seen first", cell: (row) => <NodeLink label={row.first_sender} /> },
    { name: "reached", about: "of the nodes with full coverage, the signer left out", number: true, cell: (row) => (row.first_ns === null ? none : `${count(row.reached)} of ${count(row.of_nodes)}`) },
    ...(props.votes.some((row) => row.first_ns !== null && missed(row)) ? [{ name: "not reached", cell: (row: NodeVote) => (row.first_ns === null ? none : missed(row)), mark: () => "medium" }] : []),
    { name: "round was", about: "what became of the round", cell: (row) => words(row.outcome) },
    { name: "block", about: "hash of the block that it is for", cell: (row) => <Hash value={row.digest} /> },
  ];
  return (
    <Table
      caption={`Votes of ${short(props.label)}${props.counted ? ` that count as ${NAMES[props.counted] ?? props.counted}` : ""}, the latest first`}
      rows={props.votes}
      rowKey={(row) => `${row.sequence} ${row.round} ${row.chain_id} ${row.kind} ${row.position}`}
      cut={500}
      empty="No such vote."
      columns={columns}
    />
  );
}

function State(props: { vote: NodeVote; href: ReturnType<typeof useHref> }): JSX.Element {
  const { vote } = props;
  const [mark, tone, about] = STATES[vote.state] ?? ["?", "unsure", ""];
  const word = (
    <>
      <span aria-hidden="true">{mark} </span>
      {words(vote.state)}
    </>
  );
  return (
    <span class={`vote ${tone}`} title={about}>
      {vote.first_ns === null ? (
        <span class="word">{word}</span>
      ) : (
        <a href={props.href("messages", [vote.sequence], { chain: vote.chain_id || null, round: vote.round, kind: vote.kind, signer: vote.signer })}>{word}</a>
      )}
    </span>
  );
}

function missed(vote: NodeVote): string {
  const names = list(vote.not_reached);
  return names.length ? `${names.slice(0, 5).map(short).join(", ")}${names.length > 5 ? ` and ${count(names.length - 5)} more` : ""}` : "";
}
