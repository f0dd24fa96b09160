// What rules found, with filters; one event with what made the rule speak.
import type { JSX } from "preact";
import type { Event, Events, Summary } from "../api";
import { isFile, path } from "../data";
import { useData, useHref, useRunPath, useShown } from "../context";
import { count, duration, none, short, time, words } from "../format";
import { Pager, usePaging } from "../paging";
import { Choice, Copyable, Facts, Loading, NodeLink, Section, Select, SequenceLink, Severity, Table, Time, useChains } from "../ui";

export function EventsView(): JSX.Element {
  const { route } = useShown();
  const at = useRunPath();
  const href = useHref();
  const severity = route.query.get("severity");
  const suspicious = route.query.get("suspicious") === "1";
  const rule = route.query.get("rule");
  const before = route.query.get("before");
  const node = route.query.get("node");
  const blamed = route.query.get("blamed");
  const paging = usePaging();
  // A file has one list, and is filtered here.
  const matches = (row: Event): boolean => !isFile || ((!severity || row.severity === severity) && (!suspicious || row.suspicious) && (!rule || rule.split(",").includes(row.rule)) && (!node || row.signer === node || row.sender === node) && (!blamed || (row.signer ?? row.sender) === blamed));
  const events = useData<Events>(path(at("events"), isFile ? {} : { before, limit: paging.asked, severity, suspicious, rule, node, blamed }));
  const summary = useData<Summary>(at("summary"));
  const go = (change: Record<string, string | number | boolean | null>): void => {
    location.hash = href("events", [], { severity, suspicious, rule, node, blamed, before: null, ...change });
  };
  const counts = summary.data?.events;
  return (
    <>
      {counts && (
        <p>
          {count(counts.critical)} critical, {count(counts.warning)} of warning, {count(counts.info)} for information; {count(counts.suspicious)} that no honest node shows.
        </p>
      )}
      <div class="choices">
        <Select
          label="Severity"
          value={severity ?? ""}
          options={[
            ["", "all"],
            ["critical", "critical"],
            ["warning", "warning"],
            ["info", "info"],
          ]}
          choose={(value) => go({ severity: value })}
        />
        <Select
          label="Rule"
          value={rule ?? ""}
          options={[["", "all rules"], ...[...new Set([...(counts?.rules.map((one) => one.rule) ?? []), ...(rule ? [rule] : [])])].sort().map((one): [string, string] => [one, one.split(",").map(words).join(", ")])]}
          choose={(value) => go({ rule: value })}
        />
        <Choice
          legend="Shown"
          value={suspicious ? "suspicious" : "all"}
          options={[
            ["all", "all events"],
            ["suspicious", "only what no honest node shows"],
          ]}
          choose={(value) => go({ suspicious: value === "suspicious" })}
        />
        {(blamed || node) && (
          <button type="button" onClick={() => go({ node: null, blamed: null })}>
            {blamed ? `What blames ${short(blamed)}` : `What names ${short(node ?? "")}`} only: show all
          </button>
        )}
      </div>
      <Loading of={events}>
        {(data) => (
          <>
            <Table
              caption={`Events, the latest first${isFile && data.more ? ", of those that are in this file" : ""}`}
              rows={data.events.filter(matches)}
              rowKey={(row) => row.event_number}
              cut={500}
              empty="No such event."
              columns={[
                { name: "number", number: true, cell: (row) => <a href={href("event", [row.event_number])}>{count(row.event_number)}</a> },
                { name: "rule", head: true, cell: (row) => <a href={href("event", [row.event_number])}>{words(row.rule)}</a> },
                {
                  name: "severity",
                  about: "and whether an honest node may behave so",
                  cell: (row) => (
                    <>
                      <Severity severity={row.severity} /> {row.suspicious && <span class="below">no honest node</span>}
                    </>
                  ),
                },
                { name: "node", about: "who signed, where content is to blame, else who sent", cell: (row) => <Named event={row} /> },
                {
                  name: "height",
                  number: true,
                  cell: (row) => (
                    <>
                      <SequenceLink sequence={row.sequence} chain={row.chain_id} round={row.round ?? undefined} /> {row.round !== null && <span class="below">round {count(row.round)}</span>}
                    </>
                  ),
                },
                { name: "when", cell: (row) => <Time at={row.time_ns} tall /> },
                // Hashes stand in full at the event itself.
                { name: "what", long: true, mark: () => "wide", cell: (row) => row.detail.replace(/0x[0-9a-f]{20,}/g, short) },
              ]}
            />
            <Pager of={data} before={before} paging={paging} go={(to) => go({ before: to })} />
          </>
        )}
      </Loading>
    </>
  );
}

/** Who is to blame; where that is the signer, who handed it over may be honest, and stands below. */
function Named(props: { event: Event }): JSX.Element {
  const { signer, sender } = props.event;
  return (
    <>
      <NodeLink label={signer ?? sender} />{" "}
      {signer !== null && sender !== null && sender !== signer && (
        <span class="below">
          from <NodeLink label={sender} />
        </span>
      )}
    </>
  );
}

/** A number that made a rule speak: times and spans have the unit in their name. */
function numberText(name: string, value: unknown): string {
  if (name.endsWith("_ns") && typeof value === "string" && /^-?\d{16,}$/.test(value)) return time(value);
  if (name.endsWith("_ns") && typeof value === "number") return duration(value);
  if (typeof value === "number") return Number.isInteger(value) ? count(value) : String(value);
  if (value === null) return none;
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

export function EventView(): JSX.Element {
  const { route } = useShown();
  const at = useRunPath();
  const href = useHref();
  const number = /^\d{1,15}$/.test(route.parts[0] ?? "") ? route.parts[0] : null;
  const event = useData<{ event: Event; evidence: string | null }>(number === null ? null : at(`events/${number}`));
  if (number === null) return <p class="problem">An event has a number.</p>;
  return (
    <>
      <Loading of={event}>{(data) => <OneEvent event={data.event} evidence={data.evidence} />}</Loading>
      <p>
        <a href={href("events")}>All events</a>
      </p>
    </>
  );
}

function OneEvent(props: { event: Event; evidence: string | null }): JSX.Element {
  const { event } = props;
  const href = useHref();
  const chains = useChains();
  const numbers: [string, unknown][] = typeof event.numbers === "string" ? [["cut to fit", event.numbers]] : Object.entries(event.numbers ?? {});
  const payloads = typeof event.payloads === "string" ? [event.payloads] : (event.payloads ?? []);
  return (
    <>
      <p class="lead">{event.detail}</p>
      <Facts
        items={[
          ["rule", <a href={href("events", [], { rule: event.rule })}>{words(event.rule)}</a>],
          ["severity", <Severity severity={event.severity} />],
          ["an honest node", event.suspicious ? "does not behave so" : "may behave so"],
          ["when", <Time at={event.time_ns} />],
          ["signer", <NodeLink label={event.signer} />],
          ["sender", <NodeLink label={event.sender} />],
          ["height", <SequenceLink sequence={event.sequence} chain={event.chain_id} />],
          ["round", count(event.round)],
          ["kind", event.kind ?? none],
          ["chain", chains.name(event.chain_id)],
          ["address", event.address ? <code>{event.address}</code> : none],
          ["IP address", event.ip ?? none],
          ["public key", event.node_id ? <code class="long">{event.node_id}</code> : none],
        ]}
      />
      {event.sequence !== null && (
        <p>
          <a
            href={href("messages", [event.sequence], {
              chain: event.chain_id || null,
              round: event.round,
              kind: event.kind,
              signer: event.signer,
            })}
          >
            The messages of it
          </a>
        </p>
      )}
      <Section title="What made the rule speak">
        <Table
          caption="Numbers"
          quiet
          rows={numbers}
          rowKey={(row) => row[0]}
          empty="No numbers are stored with it."
          columns={[
            { name: "name", head: true, cell: (row) => words(row[0].replace(/_ns$/, "")) },
            { name: "value", number: true, cell: (row) => numberText(row[0], row[1]) },
          ]}
        />
        {payloads.length > 0 && (
          <>
            <h3>Payloads that show it, by their Keccak-256</h3>
            <ul>
              {payloads.map((hash) => (
                <li key={hash}>
                  <code class="long">{hash}</code>
                </li>
              ))}
            </ul>
          </>
        )}
      </Section>
      <Section title="Evidence">
        {props.evidence ? (
          <>
            <p>This makes a bundle of the signed messages that others can check, on the machine that has the captures and the secrets:</p>
            <Copyable text={props.evidence} label="evidence command" />
          </>
        ) : (
          <p>There is nothing to make a bundle of: no signed message shows it.</p>
        )}
      </Section>
    </>
  );
}
