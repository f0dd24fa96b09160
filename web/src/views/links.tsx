// Connections as TCP tells them: round trips, what was sent again, time from tap to tap.
import type { JSX } from "preact";
import type { TcpLink } from "../api";
import { useData, useHref, useRunPath } from "../context";
import { bytes, count, counted, duration, percent } from "../format";
import { Bar, Loading, NodeLink, Table } from "../ui";

export function LinksView(): JSX.Element {
  const at = useRunPath();
  const href = useHref();
  const links = useData<{ links: TcpLink[]; more: boolean }>(at("links"));
  return (
    <Loading of={links}>
      {(data) => {
        const again = data.links.reduce((sum, row) => sum + row.retransmissions, 0);
        const segments = data.links.reduce((sum, row) => sum + row.segments, 0);
        const slowest = Math.max(...data.links.map((row) => row.rtt_mean_ns ?? 0), 1);
        return (
          <>
            <p>
              {counted(data.links.length, "direction")} between two addresses{data.more ? ", those with most bytes" : ""}; {count(again)} of {counted(segments, "segment")} sent again ({percent(again, segments)}). A round trip is from the
              tap to the receiver and back; one way is from tap to tap, the skew of their clocks taken off. Messages are in <a href={href("matrix")}>who sends to whom</a>.
            </p>
            <Table
              caption="Links, those with most bytes first"
              rows={data.links}
              rowKey={(row) => `${row.sender_ip} ${row.receiver_ip}`}
              cut={60}
              columns={[
                { name: "sender", head: true, by: (row) => row.sender, cell: (row) => <NodeLink label={row.sender} /> },
                { name: "receiver", by: (row) => row.receiver, cell: (row) => <NodeLink label={row.receiver} /> },
                { name: "segments", number: true, by: (row) => row.segments, cell: (row) => count(row.segments) },
                { name: "bytes", number: true, by: (row) => row.bytes, cell: (row) => bytes(row.bytes) },
                { name: "sent again", number: true, by: (row) => row.retransmissions, cell: (row) => count(row.retransmissions), mark: (row) => (row.retransmissions ? "warning" : undefined) },
                {
                  name: "round trip, mean",
                  number: true,
                  by: (row) => row.rtt_mean_ns,
                  cell: (row) => (
                    <>
                      {row.rtt_mean_ns !== null && <Bar share={row.rtt_mean_ns / slowest} />} {duration(row.rtt_mean_ns)}
                    </>
                  ),
                },
                { name: "shortest", number: true, by: (row) => row.rtt_min_ns, cell: (row) => duration(row.rtt_min_ns) },
                { name: "longest", number: true, by: (row) => row.rtt_max_ns, cell: (row) => duration(row.rtt_max_ns) },
                { name: "smoothed", about: "as RFC 6298 does, at the end of the latest connection", number: true, by: (row) => row.rtt_smoothed_ns, cell: (row) => duration(row.rtt_smoothed_ns) },
                { name: "samples", number: true, cell: (row) => count(row.rtt_samples) },
                { name: "one way, mean", number: true, by: (row) => row.one_way_mean_ns, cell: (row) => duration(row.one_way_mean_ns) },
                { name: "one way, shortest", number: true, by: (row) => row.one_way_min_ns, cell: (row) => duration(row.one_way_min_ns) },
                { name: "samples", number: true, cell: (row) => count(row.one_way_samples) },
                { name: "clock skew", about: "what the clock of the receiver's tap is ahead of the sender's", number: true, cell: (row) => duration(row.skew_ns) },
              ]}
            />
          </>
        );
      }}
    </Loading>
  );
}
