// Who sends to whom: a table with shaded cells, or for many nodes a picture in which one goes from cell to cell.
import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { KINDS, type Link as Counted, type Matrix, type Node, type TcpLink } from "../api";
import { path } from "../data";
import { useData, useHref, useRunPath, useShown } from "../context";
import { bytes, count, duration, factor, none, percent, short, time } from "../format";
import { Choice, Facts, Loading, NodeLink, Scroll, Section, Select, Table } from "../ui";

type Measure = "messages" | "redundancy" | "delay" | "roundtrip";

/** What is known of a link, as messages count it and as TCP tells it. */
interface Link extends Counted {
  one_way_ns: number | null;
  rtt_ns: number | null;
}

/** More nodes than these make a table that nobody reads: they are drawn. */
const TABLE = 30;
const SHADES = 6;

function valueOf(link: Link | undefined, measure: Measure): number | null {
  if (!link) return null;
  switch (measure) {
    case "messages":
      return link.messages;
    case "redundancy":
      return link.useful === null || link.messages === 0 ? null : link.messages / Math.max(link.useful, 1);
    case "delay":
      return link.one_way_ns;
    case "roundtrip":
      return link.rtt_ns;
  }
}

/** Means of the connections between two nodes, by their samples: a node may have several addresses. */
function timesOf(links: TcpLink[]): Map<string, { one_way_ns: number | null; rtt_ns: number | null }> {
  const sums = new Map<string, { way: number; ways: number; trip: number; trips: number }>();
  for (const link of links) {
    const key = `${link.receiver}\n${link.sender}`;
    const sum = sums.get(key) ?? { way: 0, ways: 0, trip: 0, trips: 0 };
    if (link.one_way_mean_ns !== null) {
      sum.way += link.one_way_mean_ns * link.one_way_samples;
      sum.ways += link.one_way_samples;
    }
    if (link.rtt_mean_ns !== null) {
      sum.trip += link.rtt_mean_ns * link.rtt_samples;
      sum.trips += link.rtt_samples;
    }
    sums.set(key, sum);
  }
  return new Map([...sums].map(([key, sum]) => [key, { one_way_ns: sum.ways ? Math.round(sum.way / sum.ways) : null, rtt_ns: sum.trips ? Math.round(sum.trip / sum.trips) : null }]));
}

function textOf(link: Link | undefined, measure: Measure): string {
  if (!link) return none;
  switch (measure) {
    case "messages":
      return count(link.messages);
    case "redundancy":
      return link.useful === 0 && link.messages > 0 ? "all waste" : factor(link.messages, link.useful).replace(/\s×$/, "");
    case "delay":
    case "roundtrip":
      return duration(valueOf(link, measure));
  }
}

/** An end of the scale. */
function scale(value: number, measure: Measure): string {
  return measure === "messages" ? count(value) : measure === "redundancy" ? value.toFixed(2) : duration(value);
}

/** Which of the shades a value has: by its place between the least and the most. */
function shade(value: number | null, low: number, high: number): number | null {
  if (value === null) return null;
  return high > low ? Math.min(SHADES - 1, Math.floor((SHADES * (value - low)) / (high - low))) : 0;
}

export function MatrixView(): JSX.Element {
  const { route } = useShown();
  const at = useRunPath();
  const href = useHref();
  const kind = route.query.get("kind");
  const measure = (["messages", "redundancy", "delay", "roundtrip"].find((one) => one === route.query.get("show")) ?? "messages") as Measure;
  const matrix = useData<Matrix>(path(at("matrix"), { kind }));
  const tcp = useData<{ links: TcpLink[] }>(at("links"));
  const nodes = useData<{ nodes: Node[] }>(at("nodes"));
  const unseen = nodes.data?.nodes.filter((node) => node.coverage === "partial").length ?? 0;
  const go = (change: Record<string, string | null>): void => {
    location.hash = href("matrix", [], { kind, show: measure === "messages" ? null : measure, ...change });
  };
  return (
    <>
      <div class="choices">
        <Choice
          legend="Shown"
          value={measure}
          options={[
            ["messages", "messages"],
            ["redundancy", "redundancy (messages / useful)"],
            ["delay", "delay (one way, mean)"],
            ["roundtrip", "round trip (mean)"],
          ]}
          choose={(value) => go({ show: value === "messages" ? null : value })}
        />
        <Select label="Kind" value={kind ?? ""} options={[["", "all kinds"], ...KINDS.map((one): [string, string] => [one, one])]} choose={(value) => go({ kind: value })} />
      </div>
      {unseen > 1 && nodes.data && (
        <p>
          {count(unseen)} of {count(nodes.data.nodes.length)} nodes were not captured themselves: an empty cell between two of these says that nothing was seen, not that nothing was sent.
        </p>
      )}
      <Loading of={matrix}>{(data) => <Links matrix={data} tcp={tcp.data?.links ?? null} measure={measure} />}</Loading>
    </>
  );
}

function Links(props: { matrix: Matrix; tcp: TcpLink[] | null; measure: Measure }): JSX.Element {
  const { matrix, tcp, measure } = props;
  const [picked, setPicked] = useState<{ receiver: string; sender: string } | null>(null);
  const links = useMemo((): Link[] => {
    const times = timesOf(tcp ?? []);
    return matrix.links.map((link) => ({ ...link, one_way_ns: null, rtt_ns: null, ...times.get(`${link.receiver}\n${link.sender}`) }));
  }, [matrix, tcp]);
  const found = useMemo(() => new Map(links.map((link) => [`${link.receiver}\n${link.sender}`, link])), [links]);
  const names = useMemo(() => {
    const ends = new Set(matrix.links.flatMap((link) => [link.receiver, link.sender]));
    const known = matrix.nodes.filter((node) => ends.has(node));
    return [...new Set([...known, ...ends])].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  }, [matrix]);
  const values = links.map((link) => valueOf(link, measure)).filter((value): value is number => value !== null);
  const low = Math.min(...values);
  const high = Math.max(...values);
  const link = (receiver: string, sender: string): Link | undefined => found.get(`${receiver}\n${sender}`);
  if (!matrix.links.length) return <p class="empty">Nobody sent anything here.</p>;
  const what = { messages: "messages", redundancy: "messages for each useful one", delay: "delay from tap to tap", roundtrip: "round trip from the tap to the receiver and back" }[measure];
  const topmost = [...links].sort((a, b) => (valueOf(b, measure) ?? -1) - (valueOf(a, measure) ?? -1)).slice(0, 100);
  return (
    <>
      <p>
        {matrix.since_ns === null ? "The whole run" : `From ${time(matrix.since_ns)} to ${time(matrix.until_ns)}`}: {count(matrix.links.length)} links of {count(names.length)} nodes.{" "}
        {values.length ? (
          <>
            {what[0]?.toUpperCase() + what.slice(1)} from {scale(low, measure)} to {scale(high, measure)}: stronger shades are more.
          </>
        ) : (
          `No ${what} is known.`
        )}
      </p>
      {names.length > TABLE ? (
        <Picture names={names} link={link} measure={measure} low={low} high={high} pick={setPicked} picked={picked} />
      ) : (
        <Scroll label={`Who sends to whom: ${what}`}>
          <table class="matrix">
            <caption><span>{what[0]?.toUpperCase() + what.slice(1)}: who sends in rows, who receives in columns. A cell opens its numbers.</span></caption>
            <thead>
              <tr>
                <th scope="col">sender</th>
                {names.map((name) => (
                  <th key={name} scope="col" title={name}>
                    {short(name)}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {names.map((sender) => (
                <tr key={sender}>
                  <th scope="row" title={sender}>
                    {short(sender)}
                  </th>
                  {names.map((receiver) => {
                    const here = link(receiver, sender);
                    const tone = shade(valueOf(here, measure), low, high);
                    return (
                      <td key={receiver} class={tone === null ? undefined : `shade${tone}`} data-cell={`${sender} ${receiver}`}>
                        {here ? (
                          <button
                            type="button"
                            aria-pressed={picked?.receiver === receiver && picked.sender === sender}
                            onClick={() => setPicked({ receiver, sender })}
                            title={`${sender} to ${receiver}`}
                          >
                            {textOf(here, measure)}
                          </button>
                        ) : sender === receiver ? (
                          ""
                        ) : (
                          none
                        )}
                      </td>
                    );
                  })}
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
      <div role="status">{picked && <One link={link(picked.receiver, picked.sender)} {...picked} />}</div>
      <Section title="Busiest links">
        <Table
          caption={`Links by ${what}, the most first`}
          rows={topmost}
          rowKey={(row) => `${row.sender} ${row.receiver}`}
          cut={15}
          columns={[
            { name: "sender", head: true, cell: (row) => <NodeLink label={row.sender} /> },
            { name: "receiver", cell: (row) => <NodeLink label={row.receiver} /> },
            { name: "messages", number: true, by: (row) => row.messages, cell: (row) => count(row.messages) },
            { name: "useful", number: true, by: (row) => row.useful, cell: (row) => count(row.useful) },
            { name: "wasted", number: true, by: (row) => row.wasted, cell: (row) => count(row.wasted) },
            { name: "bytes", number: true, by: (row) => row.bytes, cell: (row) => bytes(row.bytes) },
            { name: "delay, mean", about: "one way, from tap to tap", number: true, by: (row) => row.one_way_ns, cell: (row) => duration(row.one_way_ns) },
            { name: "round trip, mean", number: true, by: (row) => row.rtt_ns, cell: (row) => duration(row.rtt_ns) },
          ]}
        />
      </Section>
    </>
  );
}

function One(props: { receiver: string; sender: string; link: Link | undefined }): JSX.Element {
  const { link } = props;
  const href = useHref();
  return (
    <section class="picked" aria-label="The link that was picked">
      <p>
        <NodeLink label={props.sender} /> to <NodeLink label={props.receiver} /> · <a href={href("traffic", [], { node: props.receiver })}>what reached {short(props.receiver)}, per sequence</a>
      </p>
      {link ? (
        <Facts
          items={[
            ["messages", count(link.messages)],
            ["useful", count(link.useful)],
            ["wasted", link.wasted === null ? none : `${count(link.wasted)} (${percent(link.wasted, link.messages)})`],
            ["messages / useful", factor(link.messages, link.useful)],
            ["bytes", bytes(link.bytes)],
            ["delay, mean", duration(link.one_way_ns)],
            ["round trip, mean", duration(link.rtt_ns)],
          ]}
        />
      ) : (
        <p>No message.</p>
      )}
    </section>
  );
}

function Picture(props: {
  names: string[];
  link: (receiver: string, sender: string) => Link | undefined;
  measure: Measure;
  low: number;
  high: number;
  picked: { receiver: string; sender: string } | null;
  pick: (cell: { receiver: string; sender: string }) => void;
}): JSX.Element {
  const { names, link, measure, low, high, picked, pick } = props;
  const { theme } = useShown();
  const canvas = useRef<HTMLCanvasElement>(null);
  const [hover, setHover] = useState("");
  const cell = Math.max(4, Math.min(14, Math.floor(900 / names.length)));
  const size = cell * names.length;
  useEffect(() => {
    const element = canvas.current;
    const context = element?.getContext("2d");
    if (!element || !context) return;
    const ratio = Math.min(2, devicePixelRatio || 1);
    element.width = size * ratio;
    element.height = size * ratio;
    context.scale(ratio, ratio);
    const style = getComputedStyle(document.documentElement);
    const shades = Array.from({ length: SHADES }, (_, index) => style.getPropertyValue(`--shade${index}`).trim());
    names.forEach((sender, y) =>
      names.forEach((receiver, x) => {
        const tone = shade(valueOf(link(receiver, sender), measure), low, high);
        if (tone === null) return;
        context.fillStyle = shades[tone] ?? "gray";
        context.fillRect(x * cell, y * cell, cell - 1, cell - 1);
      }),
    );
    if (picked) {
      context.strokeStyle = style.getPropertyValue("--ink").trim();
      context.lineWidth = 2;
      context.strokeRect(names.indexOf(picked.receiver) * cell - 1, names.indexOf(picked.sender) * cell - 1, cell + 1, cell + 1);
    }
  }, [names, measure, low, high, picked, theme, link, cell, size]);
  const under = (event: MouseEvent): { receiver: string; sender: string } | null => {
    const box = canvas.current?.getBoundingClientRect();
    if (!box) return null;
    const receiver = names[Math.floor(((event.clientX - box.left) / box.width) * names.length)];
    const sender = names[Math.floor(((event.clientY - box.top) / box.height) * names.length)];
    return receiver === undefined || sender === undefined ? null : { receiver, sender };
  };
  const say = (at: { receiver: string; sender: string }): string => `${at.sender} to ${at.receiver}: ${textOf(link(at.receiver, at.sender), measure)}`;
  const row = picked ? names.indexOf(picked.sender) : 0;
  const column = picked ? names.indexOf(picked.receiver) : 0;
  const move = (event: KeyboardEvent): void => {
    const steps: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    const receiver = names[Math.max(0, Math.min(names.length - 1, column + step[0]))];
    const sender = names[Math.max(0, Math.min(names.length - 1, row + step[1]))];
    if (receiver !== undefined && sender !== undefined) pick({ receiver, sender });
  };
  return (
    <figure>
      <Scroll label="Picture of who sends to whom">
        <div
          class="picture"
          role="application"
          tabIndex={0}
          aria-label={`Senders in rows, receivers in columns; arrow keys go from cell to cell. ${picked ? say(picked) : ""}`}
          onKeyDown={move}
          onFocus={() => !picked && names[0] !== undefined && pick({ receiver: names[1] ?? names[0], sender: names[0] })}
        >
          <canvas
            ref={canvas}
            style={{ width: `${size}px`, height: `${size}px` }}
            onMouseMove={(event) => {
              const at = under(event);
              setHover(at ? say(at) : "");
            }}
            onClick={(event) => {
              const at = under(event);
              if (at) pick(at);
            }}
          />
        </div>
      </Scroll>
      <figcaption>{hover || "Senders in rows, receivers in columns. Point at a cell, or go there with the arrow keys."}</figcaption>
    </figure>
  );
}
