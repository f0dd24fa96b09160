// Whether the monitor itself is well: how far behind it is, what it lost, what it could not read.
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import type { Health, Progress, Session, Sessions } from "../api";
import { path } from "../data";
import { useData, useHref, useRunPath, useShown } from "../context";
import { Chart, type Series } from "../chart";
import { bytes, count, counted, duration, median, milli, none, percent, seconds, since, time, words } from "../format";
import { type Column, Facts, Figure, Loading, NodeLink, Section, Table, Time } from "../ui";

const LISTS: Record<string, string> = {
  skipped_packets: "Packets without a readable TCP segment",
  undecodable_reasons: "Messages that do not decode",
  limits_reached: "Limits that were reached",
  thinned: "Rows that were removed to save room",
};

export function HealthView(): JSX.Element {
  const at = useRunPath();
  const href = useHref();
  const health = useData<Health>(at("health"));
  return (
    <Loading of={health}>
      {(data) => {
        const { run } = data;
        const lists = [...new Set(data.counters.map((row) => row.list))];
        return (
          <>
            <Section title="What was read">
              <Facts
                items={[
                  ["written by", `bftap ${run.program_version}, ${run.source}`],
                  ["state", run.state === "running" && run.live ? "running, live" : words(run.state)],
                  ["began", <Time at={run.started_ns} />],
                  ["complete", <Time at={run.finished_ns} />],
                  ["took", duration(since(run.started_ns, run.finished_ns))],
                  ["behind", duration(run.lag_ns)],
                  ["played at", run.pace_milli === null ? none : `${milli(run.pace_milli)} times its own speed`],
                  ["packets", `${count(run.packets)}, ${bytes(run.bytes)}`],
                  ["of these TCP", count(run.tcp_packets)],
                  ["sessions", count(run.sessions)],
                  ["refused or without payload", count(run.refused)],
                  ["other connections", count(run.other_flows)],
                  ["frames", count(run.frames)],
                  ["consensus messages", count(run.consensus_messages)],
                  ["undecodable", count(run.undecodable)],
                  ["gaps", count(run.gaps)],
                  ["lost", bytes(run.lost_bytes)],
                  ["frames lost", count(run.frames_lost)],
                  ["incomplete at the end", bytes(run.incomplete_bytes)],
                  ["wrong checksums", count(run.bad_checksums)],
                  ["thinned before", <Time at={run.thinned_before_ns} />],
                ]}
              />
            </Section>
            {data.progress.length > 0 && (
              <Section title="How far behind">
                <Lag progress={data.progress} />
                <Spool progress={data.progress} />
              </Section>
            )}
            <Section title="Sessions">
              <Table
                caption="Sessions by state"
                rows={data.sessions}
                rowKey={(row) => row.state}
                columns={[
                  { name: "state", head: true, cell: (row) => words(row.state) },
                  { name: "sessions", number: true, cell: (row) => count(row.sessions), mark: (row) => (row.state === "decrypted" ? undefined : "warning") },
                ]}
              />
              <SessionTable caption="Sessions that were not read, or lost something" rows={data.broken} empty="All sessions were read to the end, and none lost anything." />
              <p>
                <a href={href("sessions")}>All sessions</a>
              </p>
            </Section>
            <Section title="Captures">
              <Table
                caption="Inputs"
                rows={data.captures}
                rowKey={(row) => row.capture_number}
                columns={[
                  { name: "input", head: true, cell: (row) => row.path },
                  { name: "packets", number: true, cell: (row) => count(row.packets) },
                  { name: "bytes", number: true, cell: (row) => bytes(row.bytes) },
                  { name: "lost for want of room", number: true, cell: (row) => count(row.kernel_drops), mark: (row) => (row.kernel_drops ? "warning" : undefined) },
                  { name: "lost by the interface", number: true, cell: (row) => count(row.interface_drops), mark: (row) => (row.interface_drops ? "warning" : undefined) },
                  { name: "times down", number: true, cell: (row) => count(row.times_down) },
                  { name: "SHA-256", cell: (row) => <code title={row.sha256}>{row.sha256.slice(0, 12) || none}</code> },
                  { name: "problem", long: true, cell: (row) => row.problem ?? "" },
                ]}
              />
            </Section>
            <Section title="Counters">
              {lists.length === 0 && <p>Nothing was skipped, nothing did not decode, no limit was reached.</p>}
              {lists.map((list) => (
                <Table
                  key={list}
                  caption={LISTS[list] ?? words(list)}
                  rows={data.counters.filter((row) => row.list === list)}
                  rowKey={(row) => row.name}
                  columns={[
                    { name: "what", head: true, cell: (row) => words(row.name) },
                    { name: "times", number: true, cell: (row) => count(row.value) },
                  ]}
                />
              ))}
            </Section>
            <Section title="Message codes">
              <Table
                caption="Frames by message code, consensus or not"
                rows={data.codes}
                rowKey={(row) => `${row.capability} ${row.wire_code} ${row.name}`}
                cut={30}
                columns={[
                  { name: "capability", head: true, cell: (row) => row.capability },
                  { name: "code", number: true, cell: (row) => `0x${row.wire_code.toString(16)}` },
                  { name: "message", cell: (row) => row.name },
                  { name: "frames", number: true, by: (row) => row.frames, cell: (row) => count(row.frames) },
                  { name: "bytes", number: true, by: (row) => row.bytes, cell: (row) => bytes(row.bytes) },
                ]}
              />
            </Section>
          </>
        );
      }}
    </Loading>
  );
}

const PROGRESS: Column<Progress>[] = [
  { name: "batch", head: true, number: true, cell: (row) => count(row.batch) },
  { name: "written", cell: (row) => <Time at={row.written_ns} /> },
  { name: "behind", number: true, cell: (row) => duration(row.lag_ns) },
  { name: "rows", number: true, cell: (row) => count(row.rows_written) },
  { name: "waiting batches", number: true, cell: (row) => count(row.spooled_batches) },
  { name: "waiting bytes", number: true, cell: (row) => bytes(row.spooled_bytes) },
  { name: "lost", number: true, cell: (row) => bytes(row.lost_bytes) },
  { name: "unread sessions", number: true, cell: (row) => count(row.unread_sessions) },
];

function Lag(props: { progress: Progress[] }): JSX.Element {
  const { progress } = props;
  const x = useMemo(() => progress.map((row) => seconds(row.written_ns)), [progress]);
  const series = useMemo((): Series[] => [{ label: "behind", values: progress.map((row) => row.lag_ns / 1e9), colour: "prepare", shape: "circle" }], [progress]);
  const worst = progress.reduce((most, row) => Math.max(most, row.lag_ns), 0);
  return (
    <Figure
      title="How long after its time a packet was stored"
      summary={`The newest ${counted(progress.length, "batch", "batches")}: median ${duration(median(progress.map((row) => row.lag_ns)))}, longest ${duration(worst)}.`}
      rows={progress}
      columns={PROGRESS}
      rowKey={(row) => row.batch}
    >
      <Chart x={x} series={series} xName="time" yName="behind" clock xText={(value) => time(String(BigInt(Math.round(value * 1000)) * 1000000n))} yText={(value) => duration(value * 1e9)} height={180} />
    </Figure>
  );
}

function Spool(props: { progress: Progress[] }): JSX.Element {
  const { progress } = props;
  const x = useMemo(() => progress.map((row) => seconds(row.written_ns)), [progress]);
  const series = useMemo(
    (): Series[] => [
      { label: "waiting in the spool", values: progress.map((row) => row.spooled_bytes), colour: "commit", shape: "square" },
      { label: "stream bytes lost", values: progress.map((row) => row.lost_bytes), colour: "roundchange", dash: [8, 4], shape: "triangle" },
    ],
    [progress],
  );
  const last = progress[progress.length - 1];
  const idle = progress.every((row) => row.spooled_bytes === 0 && row.lost_bytes === 0);
  if (idle) return <p>Nothing waited in the spool and nothing was lost in these batches.</p>;
  return (
    <Figure
      title="Spool and losses"
      summary={last ? `At the newest batch ${bytes(last.spooled_bytes)} wait in the spool, and ${bytes(last.lost_bytes)} of streams were lost until then.` : ""}
      rows={progress}
      columns={PROGRESS}
      rowKey={(row) => row.batch}
    >
      <Chart x={x} series={series} xName="time" yName="bytes" clock xText={(value) => time(String(BigInt(Math.round(value * 1000)) * 1000000n))} yText={bytes} height={180} />
    </Figure>
  );
}

function SessionTable(props: { caption: string; rows: Session[]; empty: string }): JSX.Element {
  return (
    <Table
      caption={props.caption}
      rows={props.rows}
      rowKey={(row) => row.session_number}
      cut={100}
      empty={props.empty}
      columns={[
        { name: "number", number: true, head: true, cell: (row) => count(row.session_number) },
        { name: "initiator", cell: (row) => row.initiator },
        { name: "recipient", cell: (row) => row.recipient },
        { name: "state", cell: (row) => words(row.state), mark: (row) => (row.state === "decrypted" ? undefined : "warning") },
        { name: "joined at", cell: (row) => words(row.attached) },
        { name: "MAC", cell: (row) => words(row.mac) },
        { name: "frames", about: "from the initiator, from the recipient", number: true, cell: (row) => `${count(row.frames_from_initiator)}, ${count(row.frames_from_recipient)}` },
        {
          name: "frames lost",
          number: true,
          cell: (row) => {
            const lost = (row.frames_lost_from_initiator ?? 0) + (row.frames_lost_from_recipient ?? 0);
            const all = lost + row.frames_from_initiator + row.frames_from_recipient;
            return row.frames_lost_from_initiator === null ? none : lost ? `${count(lost)} (${percent(lost, all)})` : "0";
          },
        },
        { name: "gaps", number: true, cell: (row) => count(row.gaps) },
        { name: "lost", number: true, cell: (row) => bytes(row.lost_bytes) },
        { name: "bytes", about: "TCP payload", number: true, cell: (row) => bytes(row.bytes_from_initiator + row.bytes_from_recipient) },
        { name: "capabilities", cell: (row) => row.capabilities || none },
        { name: "clients", long: true, cell: (row) => [row.initiator_client, row.recipient_client].filter(Boolean).join(" · ") || none },
        { name: "first packet", cell: (row) => <Time at={row.first_seen_ns} /> },
        { name: "length", number: true, cell: (row) => duration(since(row.first_seen_ns, row.last_seen_ns)) },
        { name: "why", long: true, cell: (row) => row.detail ?? "" },
      ]}
    />
  );
}

export function SessionsView(): JSX.Element {
  const { route } = useShown();
  const at = useRunPath();
  const href = useHref();
  const before = route.query.get("before");
  const sessions = useData<Sessions>(path(at("sessions"), { before }));
  return (
    <Loading of={sessions}>
      {(data) => (
        <>
          <SessionTable caption="Sessions, the latest number first" rows={data.sessions} empty="No session." />
          <p class="tools">
            {before !== null && <a href={href("sessions")}>Back to the latest</a>} {data.more && data.next !== null && <a href={href("sessions", [], { before: data.next })}>Go on with earlier ones</a>}
          </p>
          <p>
            Ends with a name: {<NodeNames rows={data.sessions} />} · <a href={href("health")}>Monitor health</a>
          </p>
        </>
      )}
    </Loading>
  );
}

/** Sessions name addresses; their nodes are a step further. */
function NodeNames(props: { rows: Session[] }): JSX.Element {
  const at = useRunPath();
  const nodes = useData<{ nodes: { label: string; ips: string[] }[] }>(at("nodes"));
  const seen = new Set(props.rows.flatMap((row) => [row.initiator_ip, row.recipient_ip]));
  const named = (nodes.data?.nodes ?? []).filter((node) => node.ips.some((ip) => seen.has(ip))).slice(0, 30);
  return (
    <>
      {named.map((node, index) => (
        <span key={node.label}>
          {index > 0 && ", "}
          <NodeLink label={node.label} /> {node.ips[0]}
        </span>
      ))}
    </>
  );
}
