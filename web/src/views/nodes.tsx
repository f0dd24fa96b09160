// The nodes: what they took part in, how late, what they run, and how much of them was seen.
import type { JSX } from "preact";
import type { Copies, Counted, Delay, Events, Node, Participation, Peers, Redundancy, Summary, TcpLink, Traffic } from "../api";
import { isFile, path } from "../data";
import { useData, useHref, useRunPath, useShown } from "../context";
import { atLeast, bytes, count, counted, duration, factor, milli, none, percent, words } from "../format";
import { Bar, type Column, Facts, Hash, Loading, NodeLink, Section, SequenceLink, Severity, Table, Time, useChains } from "../ui";
import { TrafficChart } from "./traffic";
import { Histogram } from "./copies";
import { VotesLink } from "./votes";

/** A validator's participation over all chains; delays, which do not add up, of the chain with most rounds. */
export function tallied(node: Node): Participation | null {
  const most = node.participation.reduce<Participation | null>((most, row) => (!most || row.rounds > most.rounds ? row : most), null);
  if (!most || node.participation.length === 1) return most;
  const sum = { ...most };
  for (const name of ["rounds", "proposals_due", "proposals", "prepares", "commits", "roundchanges", "late", "partial", "missing", "unknown", "invalid"] as const) {
    sum[name] = node.participation.reduce((total, row) => total + row[name], 0);
  }
  return sum;
}

const COVERAGE: Record<string, string> = {
  full: "full",
  lossy: "full, but for gaps or unread sessions",
  partial: "partial: only what passed captured nodes",
};

/** Rules that speak of messages with a wrong signature, or with another signer than they claim. */
const INVALID = "bad_signature,wrong_signer";

/**
 * How many invalid messages claim to be from a validator. Whoever they claim to be from is not to blame, so the events are not those that blame
 * it: all of their rules are shown, and each names who handed over or signed.
 */
export function InvalidLink(props: { label: string; value: number | null | undefined }): JSX.Element {
  const href = useHref();
  const text = count(props.value);
  if (!props.value) return <>{text}</>;
  return (
    <a href={href("events", [], { rule: INVALID })} aria-label={`${text} invalid that claim to be from ${props.label}: events about such messages`}>
      {text}
    </a>
  );
}

interface Row {
  node: Node;
  tally: Participation | null;
}

export function NodesView(): JSX.Element {
  const at = useRunPath();
  const nodes = useData<{ nodes: Node[] }>(at("nodes"));
  return (
    <Loading of={nodes}>
      {(data) => {
        const rows = data.nodes.map((node) => ({ node, tally: tallied(node) }));
        return (
          <>
            <p>
              {counted(rows.length, "node")}, {count(rows.filter((row) => row.node.validator).length)} of them seen as validators, {count(rows.filter((row) => row.node.coverage === "full").length)} seen in full. Heads of columns sort.
            </p>
            <Section title="Participation">
              <ParticipationTable rows={rows.filter((row) => row.tally)} />
            </Section>
            <Section title="What reached them, what they run">
              <NodeTable rows={rows} />
            </Section>
          </>
        );
      }}
    </Loading>
  );
}

function ParticipationTable(props: { rows: Row[] }): JSX.Element {
  const votes = (row: Row, counted: Counted): JSX.Element => <VotesLink label={row.node.label} counted={counted} value={row.tally?.[counted]} />;
  const number = (counted: Counted, about: string, amiss: boolean): Column<Row> => ({
    name: counted === "roundchanges" ? "round changes" : counted,
    about,
    number: true,
    by: (row) => row.tally?.[counted] ?? null,
    cell: (row) => votes(row, counted),
    mark: (row) => (amiss && row.tally && row.tally[counted] > 0 ? "warning" : undefined),
  });
  return (
    <Table
      caption="What each validator took part in, over the whole run"
      rows={props.rows}
      rowKey={(row) => row.node.node_number}
      cut={100}
      empty="No participation is stored: no validator is known, or the run was made without votes."
      columns={[
        { name: "node", head: true, by: (row) => row.node.label, cell: (row) => <NodeLink label={row.node.label} /> },
        {
          name: "commits",
          about: "of the rounds that were decided while it had a vote, those with its commit",
          number: true,
          by: (row) => (row.tally ? row.tally.commits / Math.max(row.tally.rounds, 1) : null),
          cell: (row) =>
            row.tally && (
              <>
                <Bar share={row.tally.commits / Math.max(row.tally.rounds, 1)} /> {votes(row, "commits")} of {count(row.tally.rounds)}
              </>
            ),
        },
        number("prepares", "of the same rounds, those with its prepare", false),
        {
          name: "proposed",
          about: "rounds that it proposed, and how many it should have",
          number: true,
          by: (row) => row.tally?.proposals ?? null,
          cell: (row) =>
            row.tally && (
              <>
                {votes(row, "proposals")} ({count(row.tally.proposals_due)} due)
              </>
            ),
        },
        number("missing", "commits that were seen nowhere, and no loss can hide that", true),
        number("partial", "votes that reached some nodes and not others", true),
        number("late", "votes that came after the last node had its quorum", true),
        number("unknown", "commits that were not seen and that loss or missing coverage may hide", false),
        {
          name: "invalid",
          about: "messages with a wrong signature or another signer than claimed, by the claimed address",
          number: true,
          by: (row) => row.tally?.invalid ?? null,
          cell: (row) => <InvalidLink label={row.node.label} value={row.tally?.invalid} />,
          mark: (row) => (row.tally && row.tally.invalid > 0 ? "warning" : undefined),
        },
        number("roundchanges", "rounds that it asked for", false),
        { name: "delay, median", about: "of its commit behind the first commit of the round", number: true, by: (row) => row.tally?.commit_delay_p50_ns ?? null, cell: (row) => duration(row.tally?.commit_delay_p50_ns) },
        { name: "delay, 95 %", number: true, by: (row) => row.tally?.commit_delay_p95_ns ?? null, cell: (row) => duration(row.tally?.commit_delay_p95_ns) },
        { name: "score", about: "advice, in the manner of GossipSub's peer score", number: true, by: (row) => row.node.score?.score_milli ?? null, cell: (row) => milli(row.node.score?.score_milli) },
      ]}
    />
  );
}

function NodeTable(props: { rows: Row[] }): JSX.Element {
  return (
    <Table
      caption="The nodes, and the messages that reached them"
      rows={props.rows}
      rowKey={(row) => row.node.node_number}
      cut={100}
      columns={[
        { name: "node", head: true, by: (row) => row.node.label, cell: (row) => <NodeLink label={row.node.label} /> },
        { name: "IP", cell: (row) => row.node.ips.join(", ") || none },
        { name: "role", cell: (row) => row.node.role ?? none },
        { name: "coverage", about: "how much of its traffic was seen", by: (row) => row.node.coverage, cell: (row) => words(row.node.coverage), mark: (row) => (row.node.coverage === "full" ? undefined : "warning") },
        { name: "messages", number: true, by: (row) => row.node.messages, cell: (row) => atLeast(count(row.node.messages), row.node.rows_lower_bound) },
        { name: "useful", number: true, by: (row) => row.node.useful, cell: (row) => atLeast(count(row.node.useful), row.node.rows_lower_bound) },
        { name: "repeats", number: true, by: (row) => row.node.repeats, cell: (row) => atLeast(count(row.node.repeats), row.node.rows_lower_bound) },
        { name: "echoes", number: true, by: (row) => row.node.echoes, cell: (row) => atLeast(count(row.node.echoes), row.node.rows_lower_bound) },
        { name: "messages / useful", number: true, by: (row) => row.node.messages / Math.max(row.node.useful, 1), cell: (row) => atLeast(factor(row.node.messages, row.node.useful), row.node.rows_lower_bound) },
        { name: "bytes", number: true, by: (row) => row.node.bytes, cell: (row) => atLeast(bytes(row.node.bytes), row.node.rows_lower_bound) },
        { name: "client", long: true, by: (row) => row.node.client, cell: (row) => row.node.client ?? none },
        { name: "address", cell: (row) => <Hash value={row.node.address} /> },
      ]}
    />
  );
}

export function NodeView(): JSX.Element {
  const { route } = useShown();
  const at = useRunPath();
  const label = route.parts[0] ?? "";
  const nodes = useData<{ nodes: Node[] }>(at("nodes"));
  return (
    <Loading of={nodes}>
      {(data) => {
        const node = data.nodes.find((one) => one.label === label);
        if (!node) return <p class="problem">There is no node “{label}” in this run.</p>;
        return <OneNode node={node} nodes={data.nodes} />;
      }}
    </Loading>
  );
}

function OneNode(props: { node: Node; nodes: Node[] }): JSX.Element {
  const { node } = props;
  const at = useRunPath();
  const href = useHref();
  const chains = useChains();
  const traffic = useData<Traffic>(path(at("traffic"), { node: node.label }));
  const summary = useData<Summary>(at("summary"));
  const copies = useData<Copies>(at("copies"));
  const events = useData<Events>(path(at("events"), isFile ? {} : { node: node.label }));
  const links = useData<{ links: TcpLink[]; more: boolean }>(at("links"));
  const peers = useData<Peers>(at("peers"));
  const waste = useData<Redundancy>(at("redundancy"));
  const about = (label: string | null): boolean => label === node.label;
  // Votes are of all chains, unless there are several to tell apart.
  const votes = (row: Participation, counted: Counted): JSX.Element => (
    <VotesLink label={node.label} counted={counted} value={row[counted]} chain={node.participation.length > 1 ? row.chain_id : null} />
  );
  const { score } = node;
  return (
    <>
      <Facts
        items={[
          ["IP address", node.ips.join(", ") || none],
          ["address", node.address ? <code>{node.address}</code> : none],
          ["client", node.client ?? none],
          ["role", node.role ?? none],
          ["validator", node.validator ? "yes" : "no"],
          ["coverage", COVERAGE[node.coverage] ?? words(node.coverage)],
          ["messages that reached it", atLeast(count(node.messages), node.rows_lower_bound)],
          ["messages / useful", atLeast(factor(node.messages, node.useful), node.rows_lower_bound)],
        ]}
      />
      <Section title="Participation">
        <Table
          caption="What it took part in"
          rows={node.participation}
          rowKey={(row) => row.chain_id}
          empty="It is no validator, or nothing of it is stored."
          columns={[
            ...(chains.several ? [{ name: "chain", cell: (row: Participation) => chains.name(row.chain_id) }] : []),
            {
              name: "commits",
              number: true,
              cell: (row) => (
                <>
                  {votes(row, "commits")} of {count(row.rounds)} ({percent(row.commits, row.rounds)})
                </>
              ),
            },
            { name: "prepares", number: true, cell: (row) => votes(row, "prepares") },
            {
              name: "proposed",
              number: true,
              cell: (row) => (
                <>
                  {votes(row, "proposals")} ({count(row.proposals_due)} due)
                </>
              ),
            },
            { name: "missing", number: true, cell: (row) => votes(row, "missing") },
            { name: "partial", number: true, cell: (row) => votes(row, "partial") },
            { name: "late", number: true, cell: (row) => votes(row, "late") },
            { name: "unknown", number: true, cell: (row) => votes(row, "unknown") },
            { name: "invalid", about: "messages with a wrong signature or another signer than claimed, by the claimed address", number: true, cell: (row) => <InvalidLink label={node.label} value={row.invalid} /> },
            { name: "round changes", number: true, cell: (row) => votes(row, "roundchanges") },
            { name: "delay, median", number: true, cell: (row) => duration(row.commit_delay_p50_ns) },
            { name: "delay, 95 %", number: true, cell: (row) => duration(row.commit_delay_p95_ns) },
          ]}
        />
        {node.delays && node.delays.length > 0 && (
          <Table
            caption="How long payloads of validators took to reach it"
            rows={node.delays}
            rowKey={(row) => `${row.chain_id} ${row.node_ip}`}
            columns={[
              ...(chains.several ? [{ name: "chain", cell: (row: Delay) => chains.name(row.chain_id) }] : []),
              { name: "at", head: true, cell: (row) => row.node_ip },
              { name: "payloads", number: true, cell: (row) => count(row.payloads) },
              { name: "measured", about: "those whose signer and receiver were seen whole at the time: the delays are of them", number: true, cell: (row) => count(row.exact) },
              { name: "median", number: true, cell: (row) => duration(row.p50_ns) },
              { name: "95 %", number: true, cell: (row) => duration(row.p95_ns) },
              { name: "99 %", number: true, cell: (row) => duration(row.p99_ns) },
              { name: "longest", number: true, cell: (row) => duration(row.max_ns) },
            ]}
          />
        )}
        {score && (
          <Table
            caption={`Score: ${milli(score.score_milli)}, advice on which nothing acts`}
            rows={[
              ["for the time of its sessions", score.time_in_mesh_milli],
              ["for being the first to hand over payloads", score.first_deliveries_milli],
              ["against handing over fewer payloads than expected", score.delivery_deficit_milli],
              ["against invalid messages", score.invalid_milli],
              ["against sharing an IP address with others", score.colocation_milli],
              ["against what rules blamed on it", score.behaviour_milli],
            ] as [string, number][]}
            rowKey={(row) => row[0]}
            columns={[
              { name: "part", head: true, cell: (row) => row[0] },
              { name: "points", number: true, cell: (row) => milli(row[1]) },
            ]}
          />
        )}
      </Section>
      <Section title="Events">
        <Loading of={events}>
          {(data) => (
            <>
              <Table
                caption={`Events that name it${data.more ? (isFile ? ", of those that are in this file" : ", the latest of them") : ""}`}
                rows={data.events.filter((row) => about(row.signer) || about(row.sender))}
                rowKey={(row) => row.event_number}
                cut={20}
                empty={`No event${isFile && data.more ? " that is in this file" : ""} names it.`}
                columns={[
                  { name: "event", head: true, cell: (row) => <a href={href("event", [row.event_number])}>{words(row.rule)}</a> },
                  { name: "severity", cell: (row) => <Severity severity={row.severity} /> },
                  { name: "height", number: true, cell: (row) => <SequenceLink sequence={row.sequence} chain={row.chain_id} /> },
                  { name: "when", cell: (row) => <Time at={row.time_ns} /> },
                  { name: "what", long: true, cell: (row) => row.detail },
                ]}
              />
              {data.more && !isFile && (
                <p>
                  <a href={href("events", [], { node: node.label })}>All events that name it</a>
                </p>
              )}
            </>
          )}
        </Loading>
      </Section>
      <Section title="What reached it">
        <Loading of={traffic}>{(data) => <TrafficChart traffic={data} node={node.label} nodes={props.nodes} validators={summary.data?.validators ?? 0} />}</Loading>
        <p>
          <a href={href("traffic", [], { node: node.label })}>Choose a range</a>
        </p>
      </Section>
      {copies.data?.receivers
        .filter((one) => node.ips.includes(one.receiver_ip))
        .map((one) => (
          <Histogram key={one.receiver_ip} {...one} title={`Copies at ${one.receiver_ip}`} />
        ))}
      <Section title="Links">
        <Loading of={waste}>
          {(data) => (
            <Table
              caption="Copies of no use on its links, of the 100 links with most"
              rows={data.links.filter((row) => about(row.sender) || about(row.receiver))}
              rowKey={(row) => `${row.sender} ${row.receiver}`}
              cut={10}
              columns={[
                { name: "sender", head: true, cell: (row) => <NodeLink label={row.sender} /> },
                { name: "receiver", cell: (row) => <NodeLink label={row.receiver} /> },
                { name: "copies", number: true, cell: (row) => count(row.copies) },
                { name: "bytes", number: true, cell: (row) => bytes(row.bytes) },
              ]}
            />
          )}
        </Loading>
        <Loading of={links}>
          {(data) => (
            <Table
              caption="Its links as TCP tells them"
              rows={data.links.filter((row) => about(row.sender) || about(row.receiver))}
              rowKey={(row) => `${row.sender_ip} ${row.receiver_ip}`}
              cut={10}
              columns={[
                { name: "sender", head: true, cell: (row) => <NodeLink label={row.sender} /> },
                { name: "receiver", cell: (row) => <NodeLink label={row.receiver} /> },
                { name: "bytes", number: true, cell: (row) => bytes(row.bytes) },
                { name: "retransmissions", number: true, cell: (row) => count(row.retransmissions) },
                { name: "round trip, mean", number: true, cell: (row) => duration(row.rtt_mean_ns) },
                { name: "one way, mean", number: true, cell: (row) => duration(row.one_way_mean_ns) },
              ]}
            />
          )}
        </Loading>
      </Section>
      <Section title="As a peer">
        <Loading of={peers}>
          {(data) => {
            const peer = data.peers.find((one) => one.node === node.label);
            return peer ? (
              <Facts
                items={[
                  ["version", peer.version ?? none],
                  ["offers", peer.offers || none],
                  ["dialled", `${counted(peer.dials_out, "time")}, ${count(peer.refused_out)} refused`],
                  ["was dialled", `${counted(peer.dials_in, "time")}, ${count(peer.refused_in)} refused`],
                  ["sessions", `${count(peer.sessions)}, median ${duration(peer.session_p50_ns)}`],
                  ["disconnects", peer.disconnects.map((one) => `${words(one.reason)} ${one.direction} ${count(one.disconnects)}`).join(", ") || "none"],
                ]}
              />
            ) : (
              <p>No session of it was seen.</p>
            );
          }}
        </Loading>
        <p>
          <a href={href("peers")}>All peers</a> · <a href={href("matrix")}>Who sends to whom</a> · <a href={href("nodes")}>All nodes</a>
        </p>
      </Section>
    </>
  );
}
