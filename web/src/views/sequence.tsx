// One height: its rounds, how each node lived them, who signed what and whom it reached, and every message.
import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import { type Count, type Delivery, KINDS, type Messages, type Node, type NodeRound, type Sequence, type Summary, type Vote, list } from "../api";
import { path } from "../data";
import { useData, useHref, useRunPath, useShown } from "../context";
import { Chart, KIND_LOOK, type Series } from "../chart";
import { atLeast, bytes, count, counted, duration, earliest, factor, none, short, since, words } from "../format";
import { Figure, Loading, NodeLink, Scroll, Section, Select, SequenceLink, Severity, Table, Time } from "../ui";
import { wholeNumber } from "../route";
import { PhaseLegend, Phases, Timeline } from "./rounds";

export function SequenceView(): JSX.Element {
  const { route } = useShown();
  const number = wholeNumber(route.parts[0] ?? null);
  if (route.parts[0] === undefined) return <Latest />;
  if (number === null) return <p class="problem">A sequence is a whole number.</p>;
  return <OneSequence number={number} chain={wholeNumber(route.query.get("chain")) ?? 0} />;
}

function Jump(props: { to: (sequence: number) => string }): JSX.Element {
  return (
    <form
      class="choices"
      onSubmit={(event) => {
        event.preventDefault();
        const number = wholeNumber(String(new FormData(event.currentTarget).get("sequence")).trim());
        if (number !== null) location.hash = props.to(number);
      }}
    >
      <label class="field">
        <span>Sequence (height)</span>
        <input name="sequence" inputMode="numeric" pattern="\d*" size={10} required />
      </label>
      <button type="submit">Open</button>
    </form>
  );
}

function Latest(): JSX.Element {
  const at = useRunPath();
  const href = useHref();
  const summary = useData<Summary>(at("summary"));
  return (
    <>
      <Jump to={(number) => href("sequence", [number])} />
      <Loading of={summary}>
        {(data) =>
          data.rounds.highest_sequence === null ? (
            <p class="empty">No height was seen.</p>
          ) : (
            <>
              <p>
                Heights <SequenceLink sequence={data.rounds.lowest_sequence} /> to <SequenceLink sequence={data.rounds.highest_sequence} /> were seen. The latest:
              </p>
              <OneSequence number={data.rounds.highest_sequence} chain={0} inner />
            </>
          )
        }
      </Loading>
    </>
  );
}

function OneSequence(props: { number: number; chain: number; inner?: boolean }): JSX.Element {
  const { chains } = useShown();
  const at = useRunPath();
  const href = useHref();
  const { number, chain } = props;
  const sequence = useData<Sequence>(path(at(`sequences/${number}`), { chain }));
  return (
    <>
      {!props.inner && <Jump to={(to) => href("sequence", [to], { chain: chain || null })} />}
      {chains.length > 1 && (
        <Select
          label="Chain"
          value={String(chain)}
          options={chains.map((one): [string, string] => [String(one.chain_id), one.chain])}
          choose={(value) => {
            location.hash = href("sequence", [number], { chain: value === "0" ? null : value });
          }}
        />
      )}
      <Loading of={sequence}>{(data) => <Drawn sequence={data} />}</Loading>
    </>
  );
}

function Drawn(props: { sequence: Sequence }): JSX.Element {
  const { sequence } = props;
  const { route } = useShown();
  const href = useHref();
  const chain = sequence.chain_id || null;
  const wanted = wholeNumber(route.query.get("round"));
  const all = [...new Set([...sequence.rounds.map((row) => row.round), ...sequence.votes.map((row) => row.round), ...sequence.node_rounds.map((row) => row.round)])].sort((a, b) => a - b);
  // One liar names as many rounds as it likes: they are drawn for who asks for them, or comes for one of them, or where there is nothing else.
  const claimed = new Set(sequence.rounds.filter((row) => row.standing === "claimed").map((row) => row.round));
  const real = sequence.rounds.filter((row) => !claimed.has(row.round));
  const [asked, ask] = useState(false);
  const open = asked || real.length === 0 || (wanted !== null && claimed.has(wanted));
  const numbers = open ? all : all.filter((round) => !claimed.has(round));
  const total = sequence.counts.reduce((sum, row) => sum + row.messages, 0);
  const useful = sequence.counts.reduce((sum, row) => sum + row.useful, 0);
  const lower = sequence.counts.some((row) => row.lower_bound);
  const decided = sequence.rounds.find((row) => row.outcome === "decided");
  const took = decided ? since(decided.preprepare_ns, decided.committed_ns) : null;
  const waited = decided && decided.block_time_ns !== null && took !== null ? decided.block_time_ns - took : null;
  return (
    <>
      <p class="tools">
        {sequence.previous !== null && (
          <a href={href("sequence", [sequence.previous], { chain })} rel="prev">
            ← {count(sequence.previous)}
          </a>
        )}{" "}
        {sequence.next !== null && (
          <a href={href("sequence", [sequence.next], { chain })} rel="next">
            {count(sequence.next)} →
          </a>
        )}{" "}
        <a href={href("messages", [sequence.sequence], { chain })}>All messages, one by one</a>
      </p>
      <p class="lead">
        {decided ? `Decided in round ${count(decided.round)}` : "Not seen decided"}; {counted(real.length, "round")}
        {claimed.size > 0 && ` and ${count(claimed.size)} only spoken of`}, {atLeast(counted(total, "message"), lower)},{" "}
        {atLeast(factor(total, useful), lower)} as many as useful ones.{sequence.more && " Lists are cut: there is more than is shown."}
      </p>
      {waited !== null && waited >= 0 && (
        <p>
          Its block time was {duration(decided?.block_time_ns)}: from the commit of the height before it waited <strong>{duration(waited)}</strong> for the preprepare of round {count(decided?.round)}, and from there {duration(took)} until it was committed.
        </p>
      )}
      {claimed.size > 0 && real.length > 0 && (
        <div class="choices">
          <label class="check">
            <input type="checkbox" name="claimed" checked={open} disabled={wanted !== null && claimed.has(wanted)} onChange={(event) => ask(event.currentTarget.checked)} />
            also rounds that are only spoken of
          </label>
        </div>
      )}
      <Section title="Rounds">
        <Timeline rounds={open ? sequence.rounds : real} several={false} caption="Rounds of this height" />
      </Section>
      {sequence.events.length > 0 && (
        <Section title="Events">
          <Table
            caption="Events of this height"
            quiet
            rows={sequence.events}
            rowKey={(row) => row.event_number}
            cut={20}
            columns={[
              { name: "event", head: true, cell: (row) => <a href={href("event", [row.event_number])}>{words(row.rule)}</a> },
              { name: "severity", cell: (row) => <Severity severity={row.severity} /> },
              { name: "node", cell: (row) => <NodeLink label={row.signer ?? row.sender} /> },
              { name: "what", long: true, cell: (row) => row.detail },
            ]}
          />
        </Section>
      )}
      {numbers.map((round) => (
        <Section key={round} title={`Round ${round}`} here={round === wanted}>
          <Truth round={round} votes={sequence.votes.filter((row) => row.round === round)} sequence={sequence} />
          <NodePhases round={round} rows={sequence.node_rounds.filter((row) => row.round === round)} />
        </Section>
      ))}
      <Section title="What reached whom">
        <Counts counts={sequence.counts} sequence={sequence} />
      </Section>
    </>
  );
}

export const STATES: Record<string, [mark: string, tone: string, about: string]> = {
  complete: ["✓", "good", "it reached all nodes that were seen in full"],
  late: ["◔", "warning", "it reached them all, but after the node that decided last had its quorum"],
  partial: ["◐", "warning", "it reached some and not others, and no loss can hide that"],
  missing: ["✗", "bad", "seen nowhere, and no loss can hide that"],
  unknown: ["?", "unsure", "not seen everywhere, and loss or missing coverage may hide it"],
  not_needed: ["–", "unsure", "not seen, and not needed any more"],
};

function Truth(props: { round: number; votes: Vote[]; sequence: Sequence }): JSX.Element {
  const { votes, sequence, round } = props;
  const href = useHref();
  if (!votes.length) return <p class="empty">No vote of round {round} is stored.</p>;
  const signers = [...new Set(votes.map((vote) => vote.signer))].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const kinds = KINDS.filter((kind) => votes.some((vote) => vote.kind === kind));
  const from = earliest(votes.map((vote) => vote.first_ns));
  const used = [...new Set(votes.map((vote) => vote.state))];
  return (
    <>
      <Scroll label={`Who signed what in round ${round}`}>
        <table class="truth">
          <caption><span>Who signed what in round {round}, and whom it reached; times are behind the first message of the round</span></caption>
          <thead>
            <tr>
              <th scope="col">signer</th>
              {kinds.map((kind) => (
                <th key={kind} scope="col">
                  {kind}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {signers.map((signer) => (
              <tr key={signer}>
                <th scope="row">
                  <NodeLink label={signer} />
                </th>
                {kinds.map((kind) => {
                  const here = votes.filter((vote) => vote.signer === signer && vote.kind === kind);
                  return (
                    <td key={kind}>
                      {here.length === 0 && <span class="faint">{none}</span>}
                      {here.map((vote) => {
                        const [mark, tone, about] = STATES[vote.state] ?? ["?", "unsure", ""];
                        const missed = list(vote.not_reached);
                        return (
                          <div key={vote.position} class={`vote ${tone}`} title={about}>
                            <a href={href("messages", [sequence.sequence], { chain: sequence.chain_id || null, round, kind, signer })}>
                              <span aria-hidden="true">{mark} </span>
                              {words(vote.state)}
                            </a>{" "}
                            {vote.first_ns !== null && <span class="number">+{duration(since(from, vote.first_ns))}</span>}{" "}
                            {vote.first_ns !== null && (
                              <span class="faint">
                                {count(vote.reached)} of {count(vote.of_nodes)}
                                {missed.length > 0 && `, not ${missed.slice(0, 5).map(short).join(", ")}${missed.length > 5 ? ` and ${count(missed.length - 5)} more` : ""}`}
                              </span>
                            )}
                            {here.length > 1 && vote.digest && <code title={vote.digest}> {short(vote.digest)}</code>}
                          </div>
                        );
                      })}
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
      <details>
        <summary>What the states mean</summary>
        <dl class="facts wide">
          {used.map((state) => (
            <div key={state}>
              <dt>
                {STATES[state]?.[0]} {words(state)}
              </dt>
              <dd>{STATES[state]?.[2]}</dd>
            </div>
          ))}
        </dl>
      </details>
    </>
  );
}

function NodePhases(props: { round: number; rows: NodeRound[] }): JSX.Element | null {
  const { rows } = props;
  if (!rows.length) return null;
  const from = earliest(rows.map((row) => row.preprepare_ns));
  const part = (row: NodeRound): { prepared: number | null; committed: number | null } => ({ prepared: since(from, row.prepared_ns), committed: since(from, row.committed_ns) });
  const whole = Math.max(...rows.flatMap((row) => [part(row).prepared ?? 0, part(row).committed ?? 0]), 1);
  const measured = rows.some((row) => part(row).prepared !== null || part(row).committed !== null);
  return (
    <>
      {measured && <PhaseLegend />}
      <Table
        caption={`Round ${props.round} as each node lived it${from === null ? "" : ", times behind the first preprepare"}`}
        rows={rows}
        rowKey={(row) => row.node_ip}
        cut={100}
        columns={[
          { name: "node", head: true, cell: (row) => <NodeLink label={row.node} /> },
          ...(measured ? [{ name: <>phases, 0 to {duration(whole)}</>, cell: (row: NodeRound) => <Phases {...part(row)} whole={whole} /> }] : []),
          { name: "preprepare", number: true, by: (row) => since(from, row.preprepare_ns), cell: (row) => duration(since(from, row.preprepare_ns)) },
          { name: "prepared", number: true, by: (row) => since(from, row.prepared_ns), cell: (row) => duration(since(from, row.prepared_ns)) },
          { name: "committed", number: true, by: (row) => since(from, row.committed_ns), cell: (row) => duration(since(from, row.committed_ns)) },
          from === null
            ? { name: "round change at", cell: (row) => (row.roundchange_ns === null ? "" : <Time at={row.roundchange_ns} />) }
            : { name: "round change", number: true, by: (row) => since(from, row.roundchange_ns), cell: (row) => (row.roundchange_ns === null ? "" : duration(since(from, row.roundchange_ns))) },
          { name: "how sure", cell: (row) => (row.lower_bound ? "more may have reached it" : "all was seen") },
        ]}
      />
    </>
  );
}

function Counts(props: { counts: Count[]; sequence: Sequence }): JSX.Element {
  const { sequence } = props;
  const href = useHref();
  const rows = [...props.counts].sort((a, b) => a.round - b.round || a.receiver.localeCompare(b.receiver, "en", { numeric: true }) || KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind));
  return (
    <Table
      caption="Messages by round, receiver and kind"
      rows={rows}
      rowKey={(row) => `${row.round} ${row.receiver_ip} ${row.kind}`}
      cut={60}
      columns={[
        { name: "round", number: true, cell: (row) => count(row.round) },
        { name: "receiver", head: true, by: (row) => row.receiver, cell: (row) => <NodeLink label={row.receiver} /> },
        { name: "kind", by: (row) => row.kind, cell: (row) => row.kind },
        {
          name: "messages",
          number: true,
          by: (row) => row.messages,
          cell: (row) => (
            <a href={href("messages", [sequence.sequence], { chain: sequence.chain_id || null, round: row.round, kind: row.kind, receiver: row.receiver_ip })}>{atLeast(count(row.messages), row.lower_bound)}</a>
          ),
        },
        { name: "useful", number: true, by: (row) => row.useful, cell: (row) => atLeast(count(row.useful), row.lower_bound) },
        { name: "repeats", number: true, by: (row) => row.repeats, cell: (row) => atLeast(count(row.repeats), row.lower_bound) },
        { name: "echoes", number: true, by: (row) => row.echoes, cell: (row) => atLeast(count(row.echoes), row.lower_bound) },
        { name: "invalid", number: true, by: (row) => row.invalid, cell: (row) => count(row.invalid) },
        { name: "bytes", number: true, by: (row) => row.bytes, cell: (row) => atLeast(bytes(row.bytes), row.lower_bound) },
        { name: "first", cell: (row) => <Time at={row.first_seen_ns} /> },
        { name: "within", number: true, about: "from the first to the last of them", cell: (row) => duration(since(row.first_seen_ns, row.last_seen_ns)) },
      ]}
    />
  );
}

const STEP = 1000;
const MOST = 5000;

export function MessagesView(): JSX.Element {
  const { route } = useShown();
  const at = useRunPath();
  const href = useHref();
  const number = wholeNumber(route.parts[0] ?? null);
  const chain = wholeNumber(route.query.get("chain")) || null;
  const round = wholeNumber(route.query.get("round"));
  const kind = route.query.get("kind");
  const receiver = route.query.get("receiver");
  const signer = route.query.get("signer");
  const [limit, setLimit] = useState(STEP);
  const filter = { chain, round, kind, receiver, signer };
  const messages = useData<Messages>(number === null ? null : path(at(`sequences/${number}/messages`), { ...filter, limit: limit === STEP ? null : limit }));
  const nodes = useData<{ nodes: Node[] }>(at("nodes"));
  if (number === null) return <p class="problem">A sequence is a whole number.</p>;
  const signers = [...new Set([...(nodes.data?.nodes ?? []).filter((one) => one.validator).map((one) => one.label), ...(signer ? [signer] : [])])];
  const receivers = (nodes.data?.nodes ?? []).flatMap((one) => one.ips.map((ip): [string, string] => [ip, one.label === ip ? ip : `${short(one.label)} (${ip})`]));
  if (receiver && !receivers.some(([ip]) => ip === receiver)) receivers.push([receiver, receiver]);
  const go = (change: Record<string, string | number | null>): void => {
    location.hash = href("messages", [number], { ...filter, ...change });
  };
  return (
    <>
      <p>
        <a href={href("sequence", [number], { chain })}>Sequence {count(number)}</a>
        {messages.data && `: ${counted(messages.data.messages.length, "delivery", "deliveries")}${messages.data.more ? "; that is a part: more are stored, choose a kind, a signer or a receiver" : ""}. A delivery is the copies of one signer's message that one sender handed to one receiver.`}
      </p>
      <div class="choices">
        <Select label="Kind" value={kind ?? ""} options={[["", "all kinds"], ...KINDS.map((one): [string, string] => [one, one])]} choose={(value) => go({ kind: value })} />
        <Select label="Signer" value={signer ?? ""} options={[["", "all signers"], ...signers.map((one): [string, string] => [one, short(one)])]} choose={(value) => go({ signer: value })} />
        <Select label="Receiver" value={receiver ?? ""} options={[["", "all receivers"], ...receivers]} choose={(value) => go({ receiver: value })} />
        {round !== null && (
          <button type="button" onClick={() => go({ round: null })}>
            Round {round} only: show all rounds
          </button>
        )}
      </div>
      <Loading of={messages}>
        {(data) => (
          <>
            <Arrivals messages={data.messages} />
            <Section title="One by one">
              <Deliveries rows={data.messages} />
            </Section>
            {data.more && limit < MOST && (
              <button type="button" onClick={() => setLimit(MOST)}>
                Ask for {count(MOST)}
              </button>
            )}
          </>
        )}
      </Loading>
    </>
  );
}

function Deliveries(props: { rows: Delivery[] }): JSX.Element {
  const { rows } = props;
  const from = rows[0]?.first_seen_ns ?? null;
  return (
    <Table
      caption="Deliveries, the earliest first"
      quiet
      rows={rows}
      rowKey={(row) => `${row.round} ${row.kind} ${row.receiver_ip} ${row.sender} ${row.signer}`}
      cut={100}
      empty="No such message is stored."
      columns={[
        { name: "after", number: true, about: "behind the first of them", by: (row) => since(from, row.first_seen_ns), cell: (row) => duration(since(from, row.first_seen_ns)) },
        { name: "round", number: true, by: (row) => row.round, cell: (row) => count(row.round) },
        { name: "kind", head: true, by: (row) => row.kind, cell: (row) => row.kind },
        { name: "signer", by: (row) => row.signer, cell: (row) => <NodeLink label={row.signer} /> },
        { name: "sender", by: (row) => row.sender, cell: (row) => <NodeLink label={row.sender} /> },
        { name: "receiver", by: (row) => row.receiver, cell: (row) => <NodeLink label={row.receiver} /> },
        { name: "copies", number: true, by: (row) => row.copies, cell: (row) => count(row.copies) },
        { name: "first copy", cell: (row) => <Time at={row.first_seen_ns} /> },
        { name: "last copy after", number: true, about: "behind the first copy", cell: (row) => (row.copies > 1 ? duration(since(row.first_seen_ns, row.last_seen_ns)) : "") },
      ]}
    />
  );
}

/** Each delivery as a mark: when, at whom, of which kind. */
function Arrivals(props: { messages: Delivery[] }): JSX.Element | null {
  const { messages } = props;
  const drawn = useMemo(() => {
    const from = messages[0]?.first_seen_ns ?? null;
    const receivers = [...new Set(messages.map((row) => row.receiver))].sort((a, b) => b.localeCompare(a, "en", { numeric: true }));
    const lanes = receivers.map((name) => short(name));
    const place = new Map(receivers.map((name, index) => [name, index]));
    const kinds = KINDS.filter((kind) => messages.some((row) => row.kind === kind));
    const x = messages.map((row) => (since(from, row.first_seen_ns) ?? 0) / 1e6);
    const series: Series[] = kinds.map((kind) => {
      // Kinds lie a little beside each other, so that marks of one instant do not hide each other.
      const offset = (KINDS.indexOf(kind) - 1.5) * 0.18;
      return {
        label: kind,
        values: messages.map((row) => (row.kind === kind ? (place.get(row.receiver) ?? 0) - offset : null)),
        points: true,
        ...(KIND_LOOK[kind] as { colour: string; shape: "circle" }),
        dash: undefined,
      };
    });
    return { lanes, x, series };
  }, [messages]);
  if (!messages.length) return null;
  const last = messages[messages.length - 1];
  const span = last && messages[0] ? since(messages[0].first_seen_ns, last.first_seen_ns) : null;
  return (
    <Section title="Over time">
      <Figure
        title="When messages arrived"
        summary={`${counted(messages.length, "delivery", "deliveries")} at ${counted(drawn.lanes.length, "receiver")} within ${duration(span)}; each mark is the first copy of one.`}
        rows={messages.slice(0, 1000)}
        rowKey={(row) => `${row.round} ${row.kind} ${row.receiver_ip} ${row.sender} ${row.signer}`}
        columns={[
          { name: "after", number: true, cell: (row) => duration(since(messages[0]?.first_seen_ns ?? null, row.first_seen_ns)) },
          { name: "receiver", head: true, cell: (row) => row.receiver },
          { name: "kind", cell: (row) => row.kind },
          { name: "signer", cell: (row) => row.signer },
        ]}
      >
        <Chart
          {...drawn}
          xName="milliseconds"
          yName="receiver"
          xText={(value) => value.toFixed(value % 1 ? 2 : 0)}
          yText={(value) => String(value)}
          height={90 + Math.round(Math.max(14, Math.min(34, 550 / drawn.lanes.length)) * drawn.lanes.length)}
          describe={(index) => {
            const row = messages[index];
            return row ? `+${duration(since(messages[0]?.first_seen_ns ?? null, row.first_seen_ns))}: ${row.kind} of ${short(row.signer)} from ${short(row.sender)} at ${short(row.receiver)}, round ${row.round}` : "";
          }}
        />
      </Figure>
    </Section>
  );
}
