// Two runs side by side: before and after a change.
import type { JSX } from "preact";
import type { Comparison, Measure } from "../api";
import { path } from "../data";
import { useData, useHref, useShown } from "../context";
import { bytes, count, counted, duration, none, signed, words } from "../format";
import { Loading, Section, Select, Table } from "../ui";
import { wholeNumber, writeRoute } from "../route";

function valueText(value: number | null, unit: string): string {
  if (value === null) return none;
  switch (unit) {
    case "nanoseconds":
      return duration(Math.round(value));
    case "bytes":
      return bytes(value);
    case "share":
      return `${(100 * value).toFixed(Math.abs(value) < 0.1 ? 2 : 1)} %`;
    case "factor":
      return `${value.toFixed(2)} ×`;
    default:
      return `${value.toFixed(2)}${unit === "messages" ? "" : ` ${unit}`}`;
  }
}

const CHANCE = new Map<boolean | null, string>([
  [true, "differs"],
  [false, "may be chance"],
  [null, "cannot be told"],
]);

export function CompareView(): JSX.Element {
  const { run, runs, route } = useShown();
  const href = useHref();
  const others = runs.filter((one) => one.run_id !== run.run_id && one.state === "complete");
  const asked = wholeNumber(route.query.get("with"));
  const other = asked ?? others[0]?.run_id ?? null;
  const comparison = useData<Comparison>(other === null ? null : path("/api/v1/compare", { a: run.run_id, b: other }));
  if (other === null) return <p class="empty">There is no other complete run to compare with.</p>;
  return (
    <>
      <div class="choices">
        <Select
          label="A"
          value={String(run.run_id)}
          options={runs.filter((one) => one.state === "complete" || one.run_id === run.run_id).map((one): [string, string] => [String(one.run_id), `${one.name} (${one.run_id})`])}
          choose={(value) => {
            location.hash = writeRoute(value, "compare", [], { with: Number(value) === other ? run.run_id : other });
          }}
        />
        <Select
          label="B"
          value={String(other)}
          options={others.map((one): [string, string] => [String(one.run_id), `${one.name} (${one.run_id})`])}
          choose={(value) => {
            location.hash = href("compare", [], { with: value });
          }}
        />
        <button
          type="button"
          onClick={() => {
            location.hash = writeRoute(other, "compare", [], { with: run.run_id });
          }}
        >
          Swap
        </button>
      </div>
      <Loading of={comparison}>{(data) => <Compared comparison={data} />}</Loading>
    </>
  );
}

/** With fewer heights in a run a difference cannot be told from chance (docs/diff.md). */
const FEWEST_HEIGHTS = 40;

function Compared(props: { comparison: Comparison }): JSX.Element {
  const { comparison } = props;
  const judged = comparison.measures.filter((row) => row.beyond_chance !== null);
  const differ = judged.filter((row) => row.beyond_chance === true).length;
  const fewest = Math.min(...comparison.runs.map((run) => run.heights));
  const suspicious = comparison.runs
    .map((run, index) => ({ letter: index === 0 ? "A" : "B", rules: Object.entries(run.suspicious_events ?? {}) }))
    .filter((run) => run.rules.length > 0);
  return (
    <>
      {suspicious.map((run) => (
        <p key={run.letter} class="problem">
          <span aria-hidden="true">! </span>
          {run.letter} has {counted(run.rules.reduce((sum, [, events]) => sum + events, 0), "event")} that no honest node shows ({run.rules.map(([rule, events]) => `${words(rule)} ${count(events)}`).join(", ")}): what differs below may be their work, not the change's.
        </p>
      ))}
      {comparison.comparable && fewest < FEWEST_HEIGHTS && (
        <p class="problem">
          <span aria-hidden="true">! </span>
          {counted(fewest, "height is", "heights are")} too few to tell a difference from chance: {FEWEST_HEIGHTS} or more it takes, of each run.
        </p>
      )}
      {comparison.comparable ? (
        <p>
          {judged.length > 0 && `${count(differ)} of ${counted(judged.length, "measure")} that could be judged ${differ === 1 ? "differs" : "differ"} beyond chance. `}A difference is B − A
          {judged.length > 0 && "; its interval holds the true one with 95 % confidence"}.
        </p>
      ) : (
        <div class="problem">
          <p>These runs differ in more than what may have been changed on purpose, so no difference is called one:</p>
          <ul>
            {comparison.reasons.map((reason) => (
              <li key={reason}>{reason}</li>
            ))}
          </ul>
        </div>
      )}
      <Section title="Measures">
        <Table
          caption="Measures of both runs"
          quiet
          rows={comparison.measures}
          rowKey={(row) => row.measure}
          cut={100}
          empty="Nothing was compared."
          columns={[
            { name: "measure", head: true, cell: (row) => row.measure.trim(), mark: (row) => (row.measure.startsWith(" ") ? "part" : undefined) },
            { name: "A", number: true, cell: (row) => valueText(row.a, row.unit) },
            { name: "B", number: true, cell: (row) => valueText(row.b, row.unit) },
            { name: "B − A", number: true, cell: (row) => (row.difference === null ? none : signed(valueText(row.difference, row.unit), row.difference)) },
            { name: "95 % interval", number: true, cell: (row) => (row.low === null || row.high === null ? none : `${signed(valueText(row.low, row.unit), row.low)} to ${signed(valueText(row.high, row.unit), row.high)}`) },
            { name: "interval around 0", cell: (row) => <Interval measure={row} /> },
            { name: "beyond chance", cell: (row) => CHANCE.get(row.beyond_chance) ?? none, mark: (row) => (row.beyond_chance ? "strong" : undefined) },
          ]}
        />
      </Section>
      <Section title="The runs">
        <Table
          caption="What was seen of both"
          quiet
          rows={comparison.runs.map((run, index) => ({ ...run, letter: index === 0 ? "A" : "B" }))}
          rowKey={(row) => row.letter}
          columns={[
            { name: "side", head: true, cell: (row) => row.letter },
            { name: "run", cell: (row) => row.run },
            { name: "heights", number: true, cell: (row) => count(row.heights) },
            { name: "validators", number: true, cell: (row) => count(row.validators) },
            { name: "seen in full", number: true, cell: (row) => count(row.full_coverage) },
            { name: "unread sessions", number: true, cell: (row) => count(row.unread_sessions) },
            { name: "lost", number: true, cell: (row) => bytes(row.lost_bytes) },
            { name: "receivers compared", long: true, cell: (row) => row.receivers.slice(0, 12).join(", ") + (row.receivers.length > 12 ? " …" : "") },
          ]}
        />
      </Section>
    </>
  );
}

/** The interval as a line with its difference, and where zero is. */
function Interval(props: { measure: Measure }): JSX.Element | null {
  const { difference, low, high } = props.measure;
  if (difference === null || low === null || high === null) return null;
  const reach = Math.max(Math.abs(low), Math.abs(high)) || 1;
  const x = (value: number): number => 60 + (55 * value) / reach;
  return (
    <svg class="interval" width="120" height="16" viewBox="0 0 120 16" aria-hidden="true" focusable="false">
      <line class="zero" x1="60" x2="60" y1="0" y2="16" />
      <line x1={x(low)} x2={x(high)} y1="8" y2="8" />
      <line x1={x(low)} x2={x(low)} y1="4" y2="12" />
      <line x1={x(high)} x2={x(high)} y1="4" y2="12" />
      <circle cx={x(difference)} cy="8" r="3.5" />
    </svg>
  );
}
