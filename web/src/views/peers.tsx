// The nodes as a crawler would list them, from what passed by.
import type { JSX } from "preact";
import { type Peers, list } from "../api";
import { useData, useRunPath } from "../context";
import { count, duration, none, words } from "../format";
import { Bar, Hash, Loading, NodeLink, Section, Table, Time } from "../ui";

const LISTS: Record<string, string> = {
  software: "Software",
  version: "Versions",
  capability: "Capabilities offered",
  role: "Roles",
  disconnect: "Disconnects by reason",
};

export function PeersView(): JSX.Element {
  const at = useRunPath();
  const peers = useData<Peers>(at("peers"));
  return (
    <Loading of={peers}>
      {(data) => (
        <>
          <Section title="Census">
            <div class="multiples">
              {Object.entries(LISTS)
                .map(([id, title]) => ({ id, title, rows: data.census.filter((row) => row.list === id).sort((a, b) => b.total - a.total) }))
                .filter((one) => one.rows.length > 0)
                .map((one) => (
                  <div key={one.id}>
                    <Table
                      caption={one.title}
                      rows={one.rows}
                      rowKey={(row) => row.value}
                      cut={15}
                      columns={[
                        { name: "value", head: true, cell: (row) => (one.id === "disconnect" ? words(row.value) : row.value) },
                        {
                          name: one.id === "disconnect" ? "times" : "nodes",
                          number: true,
                          cell: (row) => (
                            <>
                              <Bar share={row.total / (one.rows[0]?.total || 1)} /> {count(row.total)}
                            </>
                          ),
                        },
                      ]}
                    />
                  </div>
                ))}
            </div>
            {data.census.length === 0 && <p class="empty">No Hello was seen.</p>}
          </Section>
          <Section title="Peers">
            <Table
              caption="Peers, and what they said of themselves"
              rows={data.peers}
              rowKey={(row) => row.peer_number}
              cut={100}
              columns={[
                { name: "node", head: true, by: (row) => row.node, cell: (row) => <NodeLink label={row.node} /> },
                { name: "seen at", cell: (row) => list(row.ips).join(", ") || none },
                { name: "client", long: true, by: (row) => row.client, cell: (row) => row.client ?? none },
                { name: "offers", cell: (row) => row.offers || none },
                { name: "role", by: (row) => row.role, cell: (row) => row.role ?? none },
                { name: "network", number: true, cell: (row) => (row.network_id === null ? none : String(row.network_id)) },
                { name: "head", cell: (row) => <Hash value={row.head} /> },
                { name: "behind", about: "how far its total difficulty was behind the highest", number: true, cell: (row) => row.behind ?? none },
                { name: "dialled", number: true, by: (row) => row.dials_out, cell: (row) => count(row.dials_out) },
                { name: "was dialled", number: true, by: (row) => row.dials_in, cell: (row) => count(row.dials_in) },
                { name: "refused", about: "of both, refused or without payload", number: true, by: (row) => row.refused_out + row.refused_in, cell: (row) => count(row.refused_out + row.refused_in) },
                { name: "useless", about: "sessions with nothing but Hello, Disconnect, Ping and Pong", number: true, by: (row) => row.useless, cell: (row) => count(row.useless) },
                { name: "sessions", number: true, by: (row) => row.sessions, cell: (row) => count(row.sessions) },
                { name: "length, median", number: true, by: (row) => row.session_p50_ns, cell: (row) => duration(row.session_p50_ns) },
                { name: "reconnects", number: true, by: (row) => row.reconnects, cell: (row) => count(row.reconnects) },
                { name: "disconnects", long: true, cell: (row) => row.disconnects.map((one) => `${words(one.reason)} ${one.direction} ${count(one.disconnects)}`).join(", ") || "none" },
              ]}
            />
          </Section>
          <Section title="Dials">
            <Table
              caption="Who dialled whom"
              rows={data.dials}
              rowKey={(row) => `${row.initiator_ip} ${row.recipient_ip}`}
              cut={50}
              columns={[
                { name: "initiator", head: true, by: (row) => row.initiator, cell: (row) => <NodeLink label={row.initiator} /> },
                { name: "recipient", by: (row) => row.recipient, cell: (row) => <NodeLink label={row.recipient} /> },
                { name: "dials", number: true, by: (row) => row.dials, cell: (row) => count(row.dials) },
                { name: "refused", number: true, by: (row) => row.refused, cell: (row) => count(row.refused) },
                { name: "useless", number: true, by: (row) => row.useless, cell: (row) => count(row.useless) },
                { name: "first", cell: (row) => <Time at={row.first_seen_ns} /> },
                { name: "last", cell: (row) => <Time at={row.last_seen_ns} /> },
              ]}
            />
          </Section>
        </>
      )}
    </Loading>
  );
}
