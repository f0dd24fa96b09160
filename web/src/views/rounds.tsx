// Rounds as bars over time: when the median node was prepared, and when committed.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { Round, Rounds, Summary } from "../api";
import { isFile, path } from "../data";
import { useData, useHref, useRunPath, useShown } from "../context";
import { count, counted, duration, none, since, words } from "../format";
import { Pager, usePaging } from "../paging";
import { Choice, type Column, Loading, NodeLink, SequenceLink, Table, Time, useChains } from "../ui";
import { wholeNumber } from "../route";

export const CAUSES: Record<string, string> = {
  no_preprepare: "no preprepare came",
  late_preprepare: "the preprepare came after the first round change",
  votes_missing: "no quorum of votes",
  quorum_too_late: "a node had its quorum, others left",
  unknown: "not known: loss may hide it",
};

export function RoundsView(): JSX.Element {
  const { route, chains } = useShown();
  const at = useRunPath();
  const href = useHref();
  const aboveZero = route.query.get("above_zero") === "1";
  const claimed = route.query.get("claimed") === "1";
  const before = route.query.get("before");
  const chain = route.query.get("chain");
  const from = wholeNumber(route.query.get("from"));
  const to = wholeNumber(route.query.get("to"));
  const paging = usePaging();
  // A file has one list, and is filtered here.
  const matches = (row: Round): boolean =>
    !isFile || ((!aboveZero || row.round > 0) && (from === null || row.sequence >= from) && (to === null || row.sequence <= to) && (chain === null || String(row.chain_id) === chain));
  const rounds = useData<Rounds>(path(at("rounds"), isFile ? { claimed } : { from, to, chain, before, limit: paging.asked, above_zero: aboveZero, claimed }));
  const summary = useData<Summary>(at("summary"));
  const go = (change: Record<string, string | number | boolean | null>): void => {
    location.hash = href("rounds", [], { from, to, chain, before, above_zero: aboveZero, claimed, ...change });
  };
  return (
    <>
      <div class="choices">
        <Choice
          legend="Rounds"
          value={aboveZero ? "above" : "all"}
          options={[
            ["all", "all"],
            ["above", "above 0 only"],
          ]}
          choose={(value) => go({ above_zero: value === "above", before: null })}
        />
        {(claimed || (summary.data?.rounds.claimed ?? 0) > 0) && (
          <label class="check">
            <input type="checkbox" name="claimed" checked={claimed} onChange={(event) => go({ claimed: event.currentTarget.checked, before: null })} />
            also rounds that are only spoken of
          </label>
        )}
      </div>
      {summary.data && (
        <p>
          {counted(summary.data.rounds.rounds, "round")}, {count(summary.data.rounds.higher_rounds)} of them above 0; the median node was seen committed in {count(summary.data.rounds.committed)}.
          {summary.data.rounds.claimed > 0 && ` ${counted(summary.data.rounds.claimed, "more is", "more are")} only spoken of, by no more validators than may be faulty: counted nowhere, and ${claimed ? "listed because you ask for them" : "not listed"}.`}
        </p>
      )}
      <Loading of={rounds}>
        {(data) => (
          <>
            <Timeline
              rounds={data.rounds.filter(matches)}
              several={chains.length > 1}
              empty={aboveZero || before !== null || from !== null || to !== null || chain !== null ? "No such round." : "No round was seen."}
              caption={`Rounds, the latest first${aboveZero ? ", above 0 only" : ""}${claimed ? ", with those that are only spoken of" : ""}${isFile && data.more ? ", of those that are in this file" : ""}`}
            />
            <Pager of={data} before={before} paging={paging} go={(to) => go({ before: to })} />
          </>
        )}
      </Loading>
    </>
  );
}

/** Parts of a round behind its preprepare, in nanoseconds. */
function parts(round: Round): { prepared: number | null; committed: number | null } {
  return { prepared: since(round.preprepare_ns, round.prepared_ns), committed: since(round.preprepare_ns, round.committed_ns) };
}

/** A length that nine of ten bars are not longer than, so that one slow round does not make all others invisible. */
function usual(lengths: number[]): number {
  const sorted = [...lengths].sort((a, b) => a - b);
  return (sorted[Math.floor(0.95 * (sorted.length - 1))] ?? 1) * 1.1;
}

export function Phases(props: { prepared: number | null; committed: number | null; whole: number }): JSX.Element {
  const { prepared, committed, whole } = props;
  const place = (value: number): number => Math.max(0, Math.min(200, (200 * value) / whole));
  const end = Math.max(prepared ?? 0, committed ?? 0);
  return (
    <svg class="phases" viewBox="0 0 200 14" preserveAspectRatio="none" aria-hidden="true" focusable="false">
      {prepared !== null && <rect class="to-prepared" x="0" y="1" height="12" width={Math.max(place(prepared), 0.5)} />}
      {committed !== null && <rect class="to-committed" x={place(prepared ?? 0)} y="4" height="6" width={Math.max(place(committed) - place(prepared ?? 0), 0.5)} />}
      {end > whole && <path class="cut" d="M193 0 L200 7 L193 14 Z" />}
    </svg>
  );
}

export function PhaseLegend(): JSX.Element {
  return (
    <ul class="legend" aria-label="Parts of the bars">
      <li>
        <svg class="swatch phases" width="40" height="14" aria-hidden="true">
          <rect class="to-prepared" x="0" y="1" width="40" height="12" />
        </svg>{" "}
        preprepare to prepared (high)
      </li>
      <li>
        <svg class="swatch phases" width="40" height="14" aria-hidden="true">
          <rect class="to-committed" x="0" y="4" width="40" height="6" />
        </svg>{" "}
        prepared to committed (flat)
      </li>
      <li>
        <svg class="swatch phases" width="14" height="14" viewBox="190 0 14 14" aria-hidden="true">
          <path class="cut" d="M193 0 L200 7 L193 14 Z" />
        </svg>{" "}
        goes on beyond the scale
      </li>
    </ul>
  );
}

export function Timeline(props: { rounds: Round[]; several: boolean; caption: string; empty?: string }): JSX.Element {
  const chains = useChains();
  const [scale, setScale] = useState("usual");
  const measured = props.rounds.map(parts);
  const ends = measured.map((part) => part.committed ?? part.prepared).filter((value): value is number => value !== null);
  const longest = Math.max(...ends, 1);
  const whole = scale === "usual" ? Math.min(usual(ends), longest) || 1 : longest;
  const columns: Column<Round>[] = [
    { name: "sequence", head: true, number: true, cell: (row) => <SequenceLink sequence={row.sequence} chain={row.chain_id} round={row.round || undefined} /> },
    { name: "round", number: true, cell: (row) => count(row.round), mark: (row) => (row.round > 0 ? "warning" : undefined) },
    ...(props.several ? [{ name: "chain", cell: (row: Round) => chains.name(row.chain_id) }] : []),
    { name: "proposer", cell: (row) => <NodeLink label={row.proposer} /> },
    { name: "outcome", cell: (row) => (row.standing === "claimed" ? `${words(row.outcome)}, only spoken of` : words(row.outcome)), mark: (row) => (row.outcome === "changed" ? "warning" : undefined) },
    ...(props.rounds.some((row) => row.cause) ? [{ name: "why left", cell: (row: Round) => (row.cause ? (CAUSES[row.cause] ?? words(row.cause)) : ""), mark: () => "medium" }] : []),
    // Without any phase there is no scale to speak of.
    ...(ends.length > 0
      ? [
          {
            name: <>phases, 0 to {duration(whole)}</>,
            cell: (row: Round) => {
              const part = parts(row);
              return part.prepared === null && part.committed === null ? none : <Phases {...part} whole={whole} />;
            },
          },
        ]
      : []),
    { name: "prepared after", number: true, by: (row) => parts(row).prepared, cell: (row) => duration(parts(row).prepared) },
    { name: "committed after", number: true, by: (row) => parts(row).committed, cell: (row) => duration(parts(row).committed) },
    { name: "block time", number: true, by: (row) => row.block_time_ns, cell: (row) => duration(row.block_time_ns) },
    { name: "messages", number: true, by: (row) => row.messages, cell: (row) => count(row.messages) },
    { name: "preprepare at", cell: (row) => <Time at={row.preprepare_ns} /> },
  ];
  return (
    <>
      {props.rounds.some((row) => row.standing === "claimed") && <p class="note">Only spoken of: no more validators named such a round than may be faulty, so it is counted nowhere.</p>}
      {ends.length > 0 && (
        <div class="choices">
          <PhaseLegend />
          <Choice
            legend="Scale"
            value={scale}
            options={[
              ["usual", "most rounds"],
              ["longest", "the longest round"],
            ]}
            choose={setScale}
          />
        </div>
      )}
      <Table
        caption={props.caption}
        rows={props.rounds}
        rowKey={(row) => `${row.sequence} ${row.round} ${row.chain_id}`}
        cut={500}
        empty={props.empty ?? "No round was seen."}
        columns={columns}
      />
    </>
  );
}
