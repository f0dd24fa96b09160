// The first view, in the order of the report: is it healthy, where went the time, what does the gossip cost, who stands out.
import type { JSX } from "preact";
import type { Events, Node, Redundancy, Run, Summary, Traffic } from "../api";
import { path } from "../data";
import { useData, useHref, useRunPath, useShown } from "../context";
import { atLeast, bytes, count, counted, duration, factor, milli, none, percent, selected, short, words } from "../format";
import { Bar, type Children, Loading, NodeLink, Section, SequenceLink, Severity, Table, Time, useChains } from "../ui";
import { TrafficChart } from "./traffic";
import { CAUSES } from "./redundancy";
import { InvalidLink, tallied } from "./nodes";
import { VotesLink } from "./votes";

const PHASES: Record<string, string> = {
  block_time: "block time",
  preprepare_to_prepared: "preprepare to prepared",
  prepared_to_committed: "prepared to committed",
  preprepare_to_committed: "preprepare to committed",
  roundchange_to_preprepare: "roundchange to preprepare",
};

export function Overview(): JSX.Element {
  const at = useRunPath();
  const summary = useData<Summary>(at("summary"));
  const nodes = useData<{ nodes: Node[] }>(at("nodes"));
  return (
    <>
      <Section title="In short">
        <Loading of={summary}>{(data) => <InShort summary={data} nodes={nodes.data?.nodes ?? null} />}</Loading>
      </Section>
      <Section title="Messages per sequence">
        <Loading of={summary}>{(data) => <LiveTraffic summary={data} nodes={nodes.data?.nodes ?? []} />}</Loading>
      </Section>
      <Section title="Where the time went">
        <Loading of={summary}>{(data) => <Phases summary={data} />}</Loading>
      </Section>
      <Section title="What the gossip costs">
        <Loading of={summary}>{(data) => <Costs summary={data} />}</Loading>
      </Section>
      <Section title="Who stands out">
        <Loading of={summary}>
          {(data) => (data.totals.messages === 0 ? <p>Nobody can be judged: no consensus message was read.</p> : <Loading of={nodes}>{(known) => <StandsOut nodes={known.nodes} />}</Loading>)}
        </Loading>
        <LatestEvents nothing={summary.data?.totals.messages === 0} />
      </Section>
    </>
  );
}

function Line(props: { tone: "good" | "bad" | "warning" | "unsure"; children: Children }): JSX.Element {
  const marks = { good: ["✓", "good"], bad: ["✗", "bad"], warning: ["!", "warning"], unsure: ["?", "uncertain"] } as const;
  const [mark, word] = marks[props.tone];
  return (
    <li class={props.tone}>
      <span class="mark" aria-hidden="true">
        {mark}
      </span>
      <span class="hidden">{word}: </span>
      <span>{props.children}</span>
    </li>
  );
}

/** Sessions whose messages were not read, and why that makes counts too small. */
export function unread(summary: Summary): number {
  return summary.sessions.filter((row) => row.state !== "decrypted").reduce((sum, row) => sum + row.sessions, 0);
}

const LEFT: Record<string, string> = {
  no_preprepare: "no preprepare",
  late_preprepare: "preprepare late",
  votes_missing: "votes missing",
  quorum_too_late: "quorum too late",
  unknown: "not known why",
};

/** Who is behind events that no honest node shows, with the rules. */
function Behind(props: { behind: Summary["events"]["behind"] }): JSX.Element {
  const { nodes, more } = props.behind;
  return (
    <>
      {nodes.map((one, index) => (
        <span key={one.name ?? ""}>
          {index > 0 && ", "}
          {one.name === null ? "nobody named" : one.node ? <NodeLink label={one.name} /> : short(one.name)} ({one.rules.map((rule) => `${words(rule.rule)}${rule.events === 1 ? "" : ` ${count(rule.events)}`}`).join(", ")})
        </span>
      ))}
      {more > 0 && `, ${counted(more, "other node")}`}
    </>
  );
}

/** Why a run of which no consensus message was read says nothing of anybody, as far as that is known. */
function Unjudged(props: { summary: Summary }): JSX.Element {
  const { run } = useShown();
  const href = useHref();
  const of = (state: string): number => props.summary.sessions.find((row) => row.state === state)?.sessions ?? 0;
  const secrets = of("no_secret");
  const others = unread(props.summary) - secrets;
  const reasons = [
    ...(run.sessions === 0 ? ["no session of nodes was found"] : []),
    ...(secrets > 0 ? [<><a href={href("health")}>{`${count(secrets)} of ${counted(run.sessions, "session")}`}</a>{` ${secrets === 1 ? "has" : "have"} no secret: give `}<code>--keylog</code></>] : []),
    ...(others > 0 ? [<a href={href("health")}>{`${count(others)} of ${counted(run.sessions, "session")} could not be read for other reasons`}</a>] : []),
    ...(run.undecodable > 0 ? [`${counted(run.undecodable, "message")} did not decode`] : []),
    ...(run.selection ? [`the part that was asked for (${selected(run.selection)}) holds none`] : []),
    ...(run.state === "running" ? ["the run goes on"] : []),
  ];
  return (
    <>
      Nothing could be judged: no consensus message was read{reasons.length > 0 && ": "}
      {reasons.map((reason, index) => (
        <span key={index}>
          {index > 0 && "; "}
          {reason}
        </span>
      ))}
      .
    </>
  );
}

function InShort(props: { summary: Summary; nodes: Node[] | null }): JSX.Element {
  const { summary, nodes } = props;
  const { run } = useShown();
  const href = useHref();
  const { events, rounds, totals } = summary;
  const trouble = events.rules.filter((rule) => !rule.suspicious && rule.severity !== "info").reduce((sum, rule) => sum + rule.events, 0);
  const missing = (nodes ?? []).map((node) => ({ node, tally: tallied(node) })).filter((row) => row.tally && row.tally.missing > 0);
  const worst = missing.reduce<(typeof missing)[number] | null>((most, row) => (!most || (row.tally?.missing ?? 0) > (most.tally?.missing ?? 0) ? row : most), null);
  const full = (nodes ?? []).filter((node) => node.coverage === "full").length;
  const notRead = unread(summary);
  const whole = notRead === 0 && run.gaps === 0 && run.lost_bytes === 0 && run.undecodable === 0 && summary.captures_cut === 0;
  const sure = whole && totals.rows_lower_bound === 0;
  const nothing = totals.messages === 0;
  return (
    <>
      <ul class="verdict">
        {nothing && (
          <Line tone="unsure">
            <Unjudged summary={summary} />
          </Line>
        )}
        {events.suspicious > 0 ? (
          <Line tone="bad">
            <a href={href("events", [], { suspicious: true })}>{counted(events.suspicious, "event")} that no honest node shows</a>:{" "}
            <Behind behind={events.behind} />; <a href={href("events", [], { severity: "critical" })}>{count(events.critical)} critical</a>
          </Line>
        ) : nothing ? null : (
          <Line tone="good">No event that no honest node shows.</Line>
        )}
        {events.critical > 0 && events.suspicious === 0 && (
          <Line tone="bad">
            <a href={href("events", [], { severity: "critical" })}>{counted(events.critical, "critical event")}</a>
          </Line>
        )}
        {trouble > 0 && (
          <Line tone="warning">
            <a href={href("events", [], { severity: "warning" })}>{counted(trouble, "event")} of trouble that honest nodes may have, too</a>:{" "}
            {events.rules
              .filter((rule) => !rule.suspicious && rule.severity !== "info")
              .map((rule) => `${words(rule.rule)} ${count(rule.events)}`)
              .join(", ")}
          </Line>
        )}
        {worst?.tally && (
          <Line tone="warning">
            <NodeLink label={worst.node.label} /> sent no valid commit in <VotesLink label={worst.node.label} counted="missing" value={worst.tally.missing} /> of {count(worst.tally.rounds)} rounds
            {missing.length > 1 && (
              <>
                ; <a href={href("nodes")}>{counted(missing.length - 1, "other validator")} missed some, too</a>
              </>
            )}
          </Line>
        )}
        {rounds.higher_rounds > 0 ? (
          <Line tone="warning">
            <a href={href("rounds", [], { above_zero: true })}>{counted(rounds.higher_rounds, "round")} above 0</a>, of {count(rounds.rounds)} rounds
            {rounds.causes.length > 0 && `; left for a higher one: ${rounds.causes.map((row) => `${LEFT[row.cause ?? "unknown"] ?? words(row.cause)} ${count(row.rounds)}`).join(", ")}`}
          </Line>
        ) : rounds.rounds > 0 ? (
          <Line tone="good">No round above 0 in {counted(rounds.rounds, "round")}.</Line>
        ) : nothing ? null : (
          <Line tone="unsure">No round was seen.</Line>
        )}
        {rounds.claimed > 0 && (
          <Line tone="unsure">
            <a href={href("rounds", [], { claimed: true })}>{counted(rounds.claimed, "more round is", "more rounds are")} only spoken of</a>, by no more validators than may be faulty: counted nowhere
          </Line>
        )}
        <Line tone={sure && !nothing && (nodes === null || full === nodes.length) ? "good" : "unsure"}>
          How sure: {whole ? "everything that passed was read" : null}
          {summary.captures_cut > 0 && `${counted(summary.captures_cut, "capture")} not read to the end; `}
          {run.undecodable > 0 && `${counted(run.undecodable, "message")} did not decode; `}
          {notRead > 0 && <a href={href("health")}>{count(notRead)} of {counted(run.sessions, "session")} not read</a>}
          {(run.gaps > 0 || run.lost_bytes > 0) && (
            <>
              {notRead > 0 && ", "}
              <a href={href("health")}>
                {bytes(run.lost_bytes)} lost in {counted(run.gaps, "gap")}
              </a>
            </>
          )}
          {totals.rows_lower_bound > 0 && `; ${percent(totals.rows_lower_bound, totals.rows)} of counts are lower bounds`}
          {nodes && (
            <>
              ; <a href={href("nodes")}>{`${count(full)} of ${counted(nodes.length, "node")}`}</a> {full === 1 ? "was" : "were"} seen in full
            </>
          )}
        </Line>
      </ul>
      <dl class="figures">
        <Total name="heights" view="rounds">
          {rounds.lowest_sequence === null ? none : count((rounds.highest_sequence ?? 0) - rounds.lowest_sequence + 1)}
        </Total>
        <Total name="rounds" view="rounds">
          {count(rounds.rounds)}
        </Total>
        <Total name="validators" view="nodes">
          {count(summary.validators)}
        </Total>
        <Total name="messages" view="traffic">
          {atLeast(count(totals.messages), totals.rows_lower_bound)}
        </Total>
        <Total name="of these useful" view="redundancy">
          {atLeast(count(totals.useful), totals.rows_lower_bound)}
        </Total>
        <Total name="messages / useful" view="matrix">
          {atLeast(factor(totals.messages, totals.useful), totals.rows_lower_bound)}
        </Total>
        <Total name="bytes" view="redundancy">
          {atLeast(bytes(totals.bytes), totals.rows_lower_bound)}
        </Total>
        <Total name="events" view="events">
          {count(events.critical + events.warning + events.info)}
        </Total>
      </dl>
    </>
  );
}

function Total(props: { name: string; view: string; children: Children }): JSX.Element {
  const href = useHref();
  return (
    <div>
      <dt>{props.name}</dt>
      <dd>
        <a href={href(props.view)} data-total={props.name}>
          {props.children}
        </a>
      </dd>
    </div>
  );
}

/** While a run is live its newest heights are of interest, else all of it. */
function newest(run: Run, summary: Summary): number | null {
  const last = summary.rounds.highest_sequence;
  const first = summary.rounds.lowest_sequence;
  return run.state === "running" && run.live && last !== null && first !== null && last - first >= 120 ? last - 119 : null;
}

function LiveTraffic(props: { summary: Summary; nodes: Node[] }): JSX.Element {
  const { run } = useShown();
  const at = useRunPath();
  const href = useHref();
  const from = newest(run, props.summary);
  const traffic = useData<Traffic>(path(at("traffic"), { from, to: from === null ? null : props.summary.rounds.highest_sequence }));
  return (
    <Loading of={traffic}>
      {(data) => (
        <>
          <TrafficChart traffic={data} node={null} nodes={props.nodes} validators={props.summary.validators} />
          <p>
            <a href={href("traffic")}>Choose a range or a receiver</a>
          </p>
        </>
      )}
    </Loading>
  );
}

function Phases(props: { summary: Summary }): JSX.Element {
  const { phases } = props.summary;
  const chains = useChains();
  const longest = Math.max(...phases.map((phase) => phase.p50_ns), 1);
  const order = Object.keys(PHASES);
  const rows = [...phases].sort((a, b) => a.chain_id - b.chain_id || order.indexOf(a.phase) - order.indexOf(b.phase));
  return (
    <Table
      caption="How long phases took, at the median node that was seen in full"
      rows={rows}
      rowKey={(row) => `${row.chain_id} ${row.phase}`}
      empty={props.summary.totals.messages === 0 ? "No phase could be measured: no consensus message was read." : "No phase could be measured: no node was seen in full."}
      columns={[
        ...(chains.several ? [{ name: "chain", cell: (row: (typeof rows)[number]) => chains.name(row.chain_id) }] : []),
        { name: "phase", head: true, cell: (row) => PHASES[row.phase] ?? words(row.phase) },
        { name: "rounds", number: true, cell: (row) => count(row.rounds) },
        {
          name: "median",
          number: true,
          cell: (row) => (
            <>
              <Bar share={row.p50_ns / longest} /> {duration(row.p50_ns)}
            </>
          ),
        },
        { name: "95 %", about: "95 % are at least as fast", number: true, cell: (row) => duration(row.p95_ns) },
        { name: "99 %", number: true, cell: (row) => duration(row.p99_ns) },
        { name: "longest", number: true, cell: (row) => (row.longest ? <SequenceLink sequence={row.longest.sequence} chain={row.chain_id} round={row.longest.round || undefined}>{duration(row.max_ns)}</SequenceLink> : duration(row.max_ns)) },
      ]}
    />
  );
}

function Costs(props: { summary: Summary }): JSX.Element {
  const { totals } = props.summary;
  const at = useRunPath();
  const href = useHref();
  const redundancy = useData<Redundancy>(at("redundancy"));
  const idle = totals.messages - totals.useful;
  if (totals.messages === 0) return <p>No consensus message was read, so nothing is known of that.</p>;
  return (
    <>
      <p>
        {count(idle)} of {atLeast(counted(totals.messages, "message"), totals.rows_lower_bound)} ({percent(idle, totals.messages)}) brought their receiver nothing new. Redundancy factor, messages / useful:{" "}
        <strong>{atLeast(factor(totals.messages, totals.useful), totals.rows_lower_bound)}</strong>. <a href={href("redundancy")}>Where, and what other policies would cost</a>
      </p>
      <Loading of={redundancy}>{(data) => <Causes waste={data.waste} messages={totals.messages} />}</Loading>
    </>
  );
}

export function Causes(props: { waste: Redundancy["waste"]; messages: number }): JSX.Element {
  const sums = new Map<string, { cause: string; copies: number; bytes: number }>();
  for (const row of props.waste) {
    const sum = sums.get(row.cause) ?? { cause: row.cause, copies: 0, bytes: 0 };
    sum.copies += row.copies;
    sum.bytes += row.bytes;
    sums.set(row.cause, sum);
  }
  const order = Object.keys(CAUSES);
  const rows = [...sums.values()].sort((a, b) => order.indexOf(a.cause) - order.indexOf(b.cause));
  return (
    <Table
      caption="Copies of no use, by cause"
      rows={rows}
      rowKey={(row) => row.cause}
      empty="No copy without use is stored for this run."
      columns={[
        { name: "cause", head: true, cell: (row) => words(row.cause) },
        { name: "copies", number: true, cell: (row) => count(row.copies) },
        {
          name: "of all messages",
          number: true,
          cell: (row) => (
            <>
              <Bar share={row.copies / props.messages} /> {percent(row.copies, props.messages)}
            </>
          ),
        },
        { name: "bytes", number: true, cell: (row) => bytes(row.bytes) },
        { name: "went", long: true, cell: (row) => CAUSES[row.cause] ?? "" },
      ]}
    />
  );
}

const SEVERITIES = ["critical", "warning", "info"] as const;

/** Events that blame a node and that no honest node shows: the worst severity there is, and how many of it. */
function blamed(node: Node): { rank: number; events: number; severity: string } | null {
  const rank = SEVERITIES.findIndex((severity) => node.suspicious[severity] > 0);
  const severity = SEVERITIES[rank];
  return severity ? { rank, events: node.suspicious[severity], severity } : null;
}

function StandsOut(props: { nodes: Node[] }): JSX.Element {
  const href = useHref();
  const rows = props.nodes
    .map((node) => ({ node, tally: tallied(node), blamed: blamed(node) }))
    .filter((row) => row.blamed || (row.tally && row.tally.missing + row.tally.late + row.tally.partial + row.tally.invalid > 0) || (row.node.score?.score_milli ?? 0) < 0)
    .sort(
      (a, b) =>
        (a.blamed?.rank ?? SEVERITIES.length) - (b.blamed?.rank ?? SEVERITIES.length) ||
        (b.blamed?.events ?? 0) - (a.blamed?.events ?? 0) ||
        (b.tally?.missing ?? 0) - (a.tally?.missing ?? 0) ||
        (a.node.score?.score_milli ?? 0) - (b.node.score?.score_milli ?? 0),
    )
    .slice(0, 8);
  if (!rows.length) {
    return (
      <p>
        Nobody: no event blames a node for what no honest one does, and no validator missed a commit, was late, reached some only or has a score below 0. <a href={href("nodes")}>All nodes</a>
      </p>
    );
  }
  return (
    <>
      <Table
        caption="Nodes that stand out"
        rows={rows}
        rowKey={(row) => row.node.node_number}
        columns={[
          { name: "node", head: true, cell: (row) => <NodeLink label={row.node.label} /> },
          {
            name: "suspicious events",
            about: "events that blame it and that no honest node shows, of the worst severity",
            cell: (row) =>
              row.blamed ? (
                <a href={href("events", [], { blamed: row.node.label, suspicious: true, severity: row.blamed.severity })}>
                  {count(row.blamed.events)} {row.blamed.severity}
                </a>
              ) : (
                none
              ),
            mark: (row) => (row.blamed ? "warning" : undefined),
          },
          { name: "commits", number: true, cell: (row) => (row.tally ? `${count(row.tally.commits)} of ${count(row.tally.rounds)}` : none) },
          { name: "missing", number: true, about: "commits seen nowhere, and no loss can hide that", cell: (row) => <VotesLink label={row.node.label} counted="missing" value={row.tally?.missing} /> },
          { name: "partial", number: true, about: "votes that reached some and not others", cell: (row) => <VotesLink label={row.node.label} counted="partial" value={row.tally?.partial} /> },
          { name: "late", number: true, about: "votes after the last node had its quorum", cell: (row) => <VotesLink label={row.node.label} counted="late" value={row.tally?.late} /> },
          { name: "invalid", about: "messages with a wrong signature or another signer than claimed, by the claimed address", number: true, cell: (row) => <InvalidLink label={row.node.label} value={row.tally?.invalid} /> },
          { name: "score", number: true, about: "advice, in the manner of GossipSub's peer score", cell: (row) => milli(row.node.score?.score_milli) },
        ]}
      />
      <p>
        <a href={href("nodes")}>All nodes</a>
      </p>
    </>
  );
}

function LatestEvents(props: { nothing: boolean }): JSX.Element {
  const at = useRunPath();
  const href = useHref();
  const events = useData<Events>(at("events"));
  return (
    <Loading of={events}>
      {(data) => (
        <>
          <Table
            caption="The latest events"
            rows={data.events.slice(0, 5)}
            rowKey={(row) => row.event_number}
            empty={props.nothing ? "No event is stored." : "No rule found anything."}
            columns={[
              { name: "event", head: true, cell: (row) => <a href={href("event", [row.event_number])}>{words(row.rule)}</a> },
              { name: "severity", cell: (row) => <Severity severity={row.severity} /> },
              { name: "node", cell: (row) => <NodeLink label={row.signer ?? row.sender} /> },
              { name: "height", number: true, cell: (row) => <SequenceLink sequence={row.sequence} chain={row.chain_id} /> },
              { name: "when", cell: (row) => <Time at={row.time_ns} /> },
            ]}
          />
          <p>
            <a href={href("events")}>All events</a>
          </p>
        </>
      )}
    </Loading>
  );
}
