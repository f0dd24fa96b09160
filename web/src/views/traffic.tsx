// Messages per sequence and kind: the original tool's figure.
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { KINDS, type Node, type Point, type Summary, type Traffic } from "../api";
import { isFile, path } from "../data";
import { useData, useHref, useRunPath, useShown } from "../context";
import { Chart, KIND_LOOK, type Series } from "../chart";
import { atLeast, count, counted, factor, median, minute, none, seconds } from "../format";
import { type Column, Figure, Loading, Section, Select, SequenceLink, useChains } from "../ui";
import { wholeNumber, writeRoute } from "../route";

/** More heights than these are not given one by one. */
export const ONE_BY_ONE = 120;

/**
 * What would do: each other validator's vote once, at each receiver. Known where all receivers that are summed were seen in full and
 * vote themselves: else more, or less, was due than n - 1 for each of them.
 */
function expected(traffic: Traffic, node: string | null, nodes: Node[], validators: number): number | null {
  if (traffic.by !== "sequence" || validators < 2) return null;
  const receivers = nodes.filter((one) => (node === null ? one.rows > 0 : one.label === node));
  if (!receivers.length || receivers.some((one) => one.coverage !== "full" || !one.validator)) return null;
  if (node === null && receivers.length !== traffic.receivers.length) return null;
  return receivers.length * (validators - 1);
}

function pointName(point: Point): string {
  return point.minute_ns !== null ? minute(point.minute_ns) : point.sequence === null ? none : `sequence ${count(point.sequence)}`;
}

export function TrafficChart(props: { traffic: Traffic; node: string | null; nodes: Node[]; validators: number; chain?: number }): JSX.Element {
  const { traffic, node } = props;
  const href = useHref();
  const { route } = useShown();
  const points = traffic.points.filter((point) => (traffic.by === "minute" ? point.minute_ns !== null : point.sequence !== null));
  const due = expected(traffic, node, props.nodes, props.validators);
  const series: Series[] = KINDS.map((kind) => ({
    label: kind,
    values: points.map((point) => point[kind]),
    ...(KIND_LOOK[kind] as { colour: string; shape: "circle" }),
  }));
  if (due !== null) series.push({ label: `expected without re-gossip: ${count(due)} of prepare and of commit`, values: points.map(() => due), colour: "ink-soft", dash: [1, 6] });
  const lower = points.some((point) => point.lower_bound);
  const of = node === null ? counted(traffic.receivers.length, "receiver") : node;
  const middle = KINDS.map((kind) => `${kind} ${count(median(points.map((point) => point[kind])))}`).join(", ");
  const most = points.reduce<Point | null>((most, point) => (!most || point.messages > most.messages ? point : most), null);
  const columns: Column<Point>[] = [
    {
      name: traffic.by === "sequence" ? "sequence" : "minute, highest height",
      head: true,
      cell: (row) => (
        <>
          {row.minute_ns !== null && `${minute(row.minute_ns)}, `}
          <SequenceLink sequence={row.sequence} chain={props.chain ?? 0} />
        </>
      ),
    },
    ...KINDS.map((kind) => ({ name: kind, number: true, cell: (row: Point) => atLeast(count(row[kind]), row.lower_bound) })),
    { name: "all", number: true, cell: (row) => atLeast(count(row.messages), row.lower_bound) },
    { name: "useful", number: true, cell: (row) => atLeast(count(row.useful), row.lower_bound) },
    { name: "messages / useful", number: true, cell: (row) => atLeast(factor(row.messages, row.useful), row.lower_bound) },
  ];
  return (
    <Figure
      title={`Messages by kind, per ${traffic.by}`}
      summary={
        points.length ? (
          <>
            At {of}, {counted(points.length, traffic.by)}: median {middle} per {traffic.by}
            {most && `; most at ${pointName(most)}: ${count(most.messages)}`}.{lower && " Lower bounds: more may have arrived than was seen."}
            {traffic.claimed > 0 && ` ${counted(traffic.claimed, "message is", "messages are")} left out: of rounds that are only spoken of.`}
            {(traffic.since_ns ?? null) !== null && ` Minutes before ${minute(traffic.since_ns ?? 0)} are not among them: choose a range.`}
          </>
        ) : (
          "No message was counted here."
        )
      }
      rows={points}
      columns={columns}
      rowKey={(row, index) => String(row.minute_ns ?? row.sequence ?? index)}
    >
      {points.length > 0 && (
        <Chart
          x={points.map((point) => (traffic.by === "minute" ? seconds(point.minute_ns ?? 0) : (point.sequence ?? 0)))}
          series={series}
          xName={traffic.by}
          yName="messages"
          clock={traffic.by === "minute"}
          xText={(x) => (traffic.by === "minute" ? new Date(x * 1000).toISOString().slice(0, 16).replace("T", " ") : Number.isInteger(x) ? count(x) : "")}
          yText={(y) => (Number.isInteger(y) ? count(y) : "")}
          describe={(index) => {
            const point = points[index];
            return point ? `${pointName(point)}: ${KINDS.map((kind) => `${kind} ${atLeast(count(point[kind]), point.lower_bound)}`).join(", ")}` : "";
          }}
          href={(index) => {
            const point = points[index];
            if (!point || point.sequence === null) return null;
            if (traffic.by === "sequence") return { href: href("sequence", [point.sequence], { chain: props.chain || null }), text: `Open sequence ${count(point.sequence)}` };
            // A minute's heights are those above the highest of the minute before.
            let before = index - 1;
            while (before >= 0 && points[before]?.sequence === null) before--;
            const above = points[before]?.sequence ?? (traffic.first === null ? null : traffic.first - 1);
            const from = Math.max((above ?? point.sequence - 1) + 1, point.sequence - ONE_BY_ONE + 1);
            return { href: writeRoute(route.run, "traffic", [], { from: Math.min(from, point.sequence), to: point.sequence, node, chain: props.chain || null }), text: "Open the heights of this minute" };
          }}
        />
      )}
    </Figure>
  );
}

export function TrafficView(): JSX.Element {
  const { route, chains } = useShown();
  const at = useRunPath();
  const href = useHref();
  const named = useChains();
  const from = wholeNumber(route.query.get("from"));
  const to = wholeNumber(route.query.get("to"));
  const node = route.query.get("node");
  const chain = route.query.get("chain");
  // A file has all heights, or all minutes; a part of them is cut out here.
  const traffic = useData<Traffic>(path(at("traffic"), isFile ? { node } : { from, to, chain, node }));
  const within = (data: Traffic): Traffic =>
    isFile && data.by === "sequence"
      ? { ...data, points: data.points.filter((point) => point.sequence !== null && (from === null || point.sequence >= from) && (to === null || point.sequence <= to)) }
      : data;
  const nodes = useData<{ nodes: Node[] }>(at("nodes"));
  const summary = useData<Summary>(at("summary"));
  const go = (change: Record<string, string | number | null>): void => {
    location.hash = href("traffic", [], { from, to, node, chain, ...change });
  };
  const receivers = [...new Set([...(traffic.data?.receivers ?? []), ...(node ? [node] : [])])].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  return (
    <>
      <form
        class="choices"
        onSubmit={(event) => {
          event.preventDefault();
          const data = new FormData(event.currentTarget);
          go({ from: wholeNumber(String(data.get("from"))), to: wholeNumber(String(data.get("to"))) });
        }}
      >
        <Select
          label="Receiver"
          value={node ?? ""}
          options={[["", "all receivers"], ...receivers.map((one): [string, string] => [one, one])]}
          choose={(value) => go({ node: value })}
        />
        {chains.length > 1 && (
          <Select
            label="Chain"
            value={chain ?? ""}
            options={[["", "all chains"], ...chains.map((one): [string, string] => [String(one.chain_id), named.name(one.chain_id)])]}
            choose={(value) => go({ chain: value })}
          />
        )}
        <Range first={traffic.data?.first ?? null} last={traffic.data?.last ?? null} from={from} to={to} />
        <button type="submit">Show the range</button>
      </form>
      <Steps first={traffic.data?.first ?? null} last={traffic.data?.last ?? null} from={from} to={to} go={go} />
      <Section title={node ? `What reached ${node}` : "What reached all receivers"}>
        <Loading of={traffic}>
          {(data) => <TrafficChart traffic={within(data)} node={node} nodes={nodes.data?.nodes ?? []} validators={summary.data?.validators ?? 0} chain={Number(chain ?? 0)} />}
        </Loading>
        <p class="note">
          A click on a point opens its sequence, or the heights of its minute; dragging enlarges a part. At most {ONE_BY_ONE} heights are shown one by one, longer ranges by minutes.
        </p>
      </Section>
    </>
  );
}

function Range(props: { first: number | null; last: number | null; from: number | null; to: number | null }): JSX.Element {
  const [from, setFrom] = useState(props.from === null ? "" : String(props.from));
  const [to, setTo] = useState(props.to === null ? "" : String(props.to));
  useEffect(() => {
    setFrom(props.from === null ? "" : String(props.from));
    setTo(props.to === null ? "" : String(props.to));
  }, [props.from, props.to]);
  return (
    <>
      <label class="field">
        <span>From sequence</span>
        <input name="from" inputMode="numeric" pattern="\d*" size={8} value={from} placeholder={props.first === null ? "" : String(props.first)} onInput={(event) => setFrom(event.currentTarget.value)} />
      </label>
      <label class="field">
        <span>To sequence</span>
        <input name="to" inputMode="numeric" pattern="\d*" size={8} value={to} placeholder={props.last === null ? "" : String(props.last)} onInput={(event) => setTo(event.currentTarget.value)} />
      </label>
    </>
  );
}

function Steps(props: { first: number | null; last: number | null; from: number | null; to: number | null; go: (change: Record<string, number | null>) => void }): JSX.Element | null {
  const { first, last, go } = props;
  if (first === null || last === null) return null;
  const low = props.from ?? first;
  const high = props.to ?? last;
  const width = Math.max(1, high - low + 1);
  const whole = props.from === null && props.to === null;
  const move = (by: number): void => {
    const start = Math.max(first, Math.min(last - width + 1, low + by));
    go({ from: start, to: Math.min(last, start + width - 1) });
  };
  return (
    <p class="tools">
      <button type="button" disabled={whole} onClick={() => go({ from: null, to: null })}>
        Whole run
      </button>{" "}
      <button type="button" disabled={last - first < 20} onClick={() => go({ from: Math.max(first, last - ONE_BY_ONE + 1), to: last })}>
        Last {ONE_BY_ONE} heights
      </button>{" "}
      <button type="button" disabled={whole || low <= first} onClick={() => move(-width)}>
        Earlier
      </button>{" "}
      <button type="button" disabled={whole || high >= last} onClick={() => move(width)}>
        Later
      </button>
    </p>
  );
}
