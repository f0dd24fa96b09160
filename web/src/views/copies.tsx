// How many copies of a payload arrive at a receiver.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { Copies } from "../api";
import { useData, useHref, useRunPath } from "../context";
import { count, percent } from "../format";
import { Bar, Loading, NodeLink, Section, Table } from "../ui";

/** Receivers that are drawn at first: a network may have a hundred. */
const FIRST = 12;

export function CopiesView(): JSX.Element {
  const at = useRunPath();
  const href = useHref();
  const copies = useData<Copies>(at("copies"));
  const [shown, setShown] = useState(FIRST);
  return (
    <>
      <p>
        How many distinct payloads reached a receiver in exactly so many copies, its own included. Without re-gossip each would come once. <a href={href("matrix")}>Who hands them over</a>
      </p>
      <Loading of={copies}>
        {(data) => (
          <>
            {data.receivers.length === 0 && <p class="empty">No payload reached anybody.</p>}
            <div class="multiples">
              {[...data.receivers].sort((a, b) => a.receiver.localeCompare(b.receiver, "en", { numeric: true })).slice(0, shown).map((receiver) => (
                <Histogram key={receiver.receiver_ip} {...receiver} />
              ))}
            </div>
            {data.receivers.length > shown && (
              <p>
                <button type="button" onClick={() => setShown(shown + FIRST)}>
                  Show more of {count(data.receivers.length)} receivers
                </button>
              </p>
            )}
          </>
        )}
      </Loading>
    </>
  );
}

export function Histogram(props: { receiver_ip: string; receiver: string; histogram: [number, number][]; title?: string }): JSX.Element {
  const { histogram } = props;
  const href = useHref();
  const all = histogram.reduce((sum, [, payloads]) => sum + payloads, 0);
  const most = Math.max(...histogram.map(([, payloads]) => payloads), 1);
  const mean = histogram.reduce((sum, [copies, payloads]) => sum + copies * payloads, 0) / Math.max(all, 1);
  return (
    <Section title={props.title ?? (props.receiver === props.receiver_ip ? props.receiver : `${props.receiver} (${props.receiver_ip})`)}>
      <p>
        {count(all)} payloads in {mean.toFixed(2)} copies on average. <NodeLink label={props.receiver} />, <a href={href("traffic", [], { node: props.receiver })}>its messages per sequence</a>
      </p>
      <Table
        caption={`Payloads by number of copies at ${props.receiver}`}
        quiet
        rows={histogram}
        rowKey={([copies]) => copies}
        columns={[
          { name: "copies", head: true, number: true, cell: ([copies]) => count(copies) },
          { name: "payloads", number: true, cell: ([, payloads]) => count(payloads) },
          {
            name: "share",
            number: true,
            cell: ([, payloads]) => (
              <>
                <Bar share={payloads / most} /> {percent(payloads, all)}
              </>
            ),
          },
        ]}
      />
    </Section>
  );
}
