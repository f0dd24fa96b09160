// What copies cost, why they came, and what other ways of handing on would have cost.
import type { JSX } from "preact";
import { KINDS, type Redundancy, type Summary } from "../api";
import { useData, useRunPath } from "../context";
import { atLeast, bytes, count, duration, factor, percent, signed, words } from "../format";
import { Bar, Loading, NodeLink, Section, Table, useChains } from "../ui";
import { Causes } from "./overview";

export const CAUSES: Record<string, string> = {
  echo_signer: "to the node that signed it",
  resent: "by a sender that had handed it over before",
  echo_source: "to the node that the sender had it from",
  crossing: "on its way when the receiver's own copy passed",
  regossip: "the receiver had it from somebody else",
};

export function RedundancyView(): JSX.Element {
  const at = useRunPath();
  const redundancy = useData<Redundancy>(at("redundancy"));
  const summary = useData<Summary>(at("summary"));
  return (
    <>
      <Section title="By kind">
        <Loading of={summary}>{(data) => <ByKind summary={data} />}</Loading>
      </Section>
      <Section title="Why">
        <Loading of={redundancy}>{(data) => <Causes waste={data.waste} messages={summary.data?.totals.messages ?? 0} />}</Loading>
        <Loading of={redundancy}>{(data) => <CausesByKind waste={data.waste} />}</Loading>
      </Section>
      <Section title="What if">
        <Loading of={redundancy}>{(data) => <WhatIf redundancy={data} />}</Loading>
      </Section>
      <Section title="Which links">
        <Loading of={redundancy}>
          {(data) => (
            <Table
              caption="Links with most copies of no use"
              rows={data.links}
              rowKey={(row) => `${row.sender} ${row.receiver}`}
              cut={20}
              columns={[
                { name: "sender", head: true, cell: (row) => <NodeLink label={row.sender} /> },
                { name: "receiver", cell: (row) => <NodeLink label={row.receiver} /> },
                {
                  name: "copies",
                  number: true,
                  by: (row) => row.copies,
                  cell: (row) => (
                    <>
                      <Bar share={row.copies / (data.links[0]?.copies || 1)} /> {count(row.copies)}
                    </>
                  ),
                },
                { name: "bytes", number: true, by: (row) => row.bytes, cell: (row) => bytes(row.bytes) },
              ]}
            />
          )}
        </Loading>
      </Section>
    </>
  );
}

export function ByKind(props: { summary: Summary }): JSX.Element {
  const { totals } = props.summary;
  const rows = [...totals.by_kind].sort((a, b) => KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind)).map((row) => ({ ...row, name: row.kind as string }));
  rows.push({ ...totals, kind: "commit", name: "all" });
  return (
    <Table
      caption="Messages by kind: useful is the first copy of a payload, a repeat a later one, an echo the receiver's own coming back"
      rows={rows}
      rowKey={(row) => row.name}
      rowClass={(row) => (row.name === "all" ? "total" : undefined)}
      columns={[
        { name: "kind", head: true, cell: (row) => row.name },
        {
          name: "messages",
          number: true,
          cell: (row) => (
            <>
              <Bar share={row.messages / Math.max(totals.messages, 1)} /> {atLeast(count(row.messages), row.rows_lower_bound)}
            </>
          ),
        },
        { name: "useful", number: true, cell: (row) => atLeast(count(row.useful), row.rows_lower_bound) },
        { name: "repeats", number: true, cell: (row) => atLeast(count(row.repeats), row.rows_lower_bound) },
        { name: "echoes", number: true, cell: (row) => atLeast(count(row.echoes), row.rows_lower_bound) },
        { name: "messages / useful", number: true, cell: (row) => atLeast(factor(row.messages, row.useful), row.rows_lower_bound) },
        { name: "invalid", number: true, cell: (row) => count(row.invalid) },
        { name: "bytes", number: true, cell: (row) => atLeast(bytes(row.bytes), row.rows_lower_bound) },
      ]}
    />
  );
}

function CausesByKind(props: { waste: Redundancy["waste"] }): JSX.Element {
  const causes = Object.keys(CAUSES).filter((cause) => props.waste.some((row) => row.cause === cause));
  return (
    <Table
      caption="Copies of no use, by kind and cause"
      rows={KINDS.filter((kind) => props.waste.some((row) => row.kind === kind))}
      rowKey={(kind) => kind}
      columns={[
        { name: "kind", head: true, cell: (kind) => kind },
        ...causes.map((cause) => ({
          name: words(cause),
          about: CAUSES[cause],
          number: true,
          cell: (kind: string) => count(props.waste.filter((row) => row.kind === kind && row.cause === cause).reduce((sum, row) => sum + row.copies, 0)),
        })),
      ]}
    />
  );
}

function WhatIf(props: { redundancy: Redundancy }): JSX.Element {
  const rows = props.redundancy.what_if;
  const chains = useChains();
  const seen = new Map(rows.filter((row) => row.policy === "as_seen").map((row) => [row.chain_id, row.messages]));
  const order = (policy: string): string => (policy === "as_seen" ? "" : policy);
  const sorted = [...rows].sort((a, b) => a.chain_id - b.chain_id || order(a.policy).localeCompare(order(b.policy)));
  return (
    <>
      <p class="note">
        Other policies of handing messages on, replayed with the delays that were measured: an estimate. It counts messages with a valid signature to receivers that were seen whole, so it may say fewer than the counts above.
      </p>
      <Table
        caption="What other forwarding policies would have cost"
        rows={sorted}
        rowKey={(row) => `${row.chain_id} ${row.policy}`}
        empty="Nothing was replayed for this run."
        columns={[
          ...(chains.several ? [{ name: "chain", cell: (row: (typeof rows)[number]) => chains.name(row.chain_id) }] : []),
          { name: "policy", head: true, cell: (row) => words(row.policy) },
          { name: "payloads", number: true, cell: (row) => count(row.payloads) },
          {
            name: "messages",
            number: true,
            cell: (row) => (
              <>
                <Bar share={row.messages / Math.max(...rows.map((one) => one.messages), 1)} /> {count(row.messages)}
              </>
            ),
          },
          {
            name: "against as seen",
            number: true,
            cell: (row) => {
              const base = seen.get(row.chain_id) ?? 0;
              return row.policy === "as_seen" || !base ? "" : signed(percent(row.messages - base, base), row.messages - base);
            },
          },
          { name: "bytes", number: true, cell: (row) => bytes(row.bytes) },
          { name: "not delivered", about: "pairs of payload and receiver that it would not have reached", number: true, cell: (row) => count(row.not_delivered) },
          { name: "delay, median", number: true, cell: (row) => duration(row.delay_p50_ns) },
          { name: "delay, 95 %", number: true, cell: (row) => duration(row.delay_p95_ns) },
        ]}
      />
    </>
  );
}
