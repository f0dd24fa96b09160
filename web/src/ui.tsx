// Parts that views are made of.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { isFile } from "./data";
import { type Loaded, useHref, useShown } from "./context";
import { count, none, short, shortChain, time, words } from "./format";
import type { Stamp } from "./data";

export type Children = ComponentChildren;

/** A column of a table of rows `R`. */
export interface Column<R> {
  name: Children;
  /** What the column holds, for who hovers or asks. */
  about?: string;
  number?: boolean;
  /** The cell that names the row. */
  head?: boolean;
  /** Sentences: they are not squeezed to a word in each line. */
  long?: boolean;
  cell: (row: R) => Children;
  /** What rows are sorted by when this column's head is pressed. */
  by?: (row: R) => number | string | null;
  /** Words of a class for the cell. */
  mark?: (row: R) => string | undefined;
}

/** Whether an element has more beside it than fits: only then it is of use to stop there with the keyboard. */
function useOverflow(): [{ current: HTMLDivElement | null }, boolean] {
  const box = useRef<HTMLDivElement>(null);
  const [over, setOver] = useState(false);
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const look = (): void => setOver(element.scrollWidth > element.clientWidth + 1 || element.scrollHeight > element.clientHeight + 1);
    const observer = new ResizeObserver(look);
    observer.observe(element);
    if (element.firstElementChild) observer.observe(element.firstElementChild);
    look();
    return () => observer.disconnect();
  }, []);
  return [box, over];
}

/** A region that scrolls by itself, so that the page does not have to. */
export function Scroll(props: { label: string; children: Children }): JSX.Element {
  const [box, over] = useOverflow();
  return (
    <div class="scroll" ref={box} {...(over ? { role: "region", "aria-label": props.label, tabIndex: 0 } : {})}>
      {props.children}
    </div>
  );
}

export function Table<R>(props: {
  caption: string;
  /** Whether the caption is for readers of screens only, because a heading says the same. */
  quiet?: boolean;
  rows: readonly R[];
  columns: Column<R>[];
  rowKey: (row: R, index: number) => string | number;
  /** So many rows are drawn at first. */
  cut?: number;
  empty?: string;
  rowClass?: (row: R) => string | undefined;
}): JSX.Element {
  const { rows, columns, cut = 50 } = props;
  const [shown, setShown] = useState(cut);
  const [sort, setSort] = useState<{ column: number; down: boolean } | null>(null);
  if (!rows.length) return <p class="empty">{props.empty ?? `${props.caption}: none.`}</p>;
  let ordered = rows;
  const by = sort ? columns[sort.column]?.by : undefined;
  if (sort && by) {
    const place = (row: R): number | string | null => by(row);
    ordered = [...rows].sort((one, other) => {
      const a = place(one);
      const b = place(other);
      // What is not known stands last, whichever way.
      if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
      const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
      return sort.down ? -order : order;
    });
  }
  return (
    <>
      <Scroll label={props.caption}>
        <table>
          <caption class={props.quiet ? "hidden" : undefined}>
            <span>{props.caption}</span>
          </caption>
          <thead>
            <tr>
              {columns.map((column, index) => {
                const sorted = sort?.column === index ? (sort.down ? "descending" : "ascending") : undefined;
                return (
                  <th key={index} scope="col" class={column.number ? "number" : undefined} title={column.about} aria-sort={sorted}>
                    {column.by ? (
                      <button
                        type="button"
                        class="sort"
                        onClick={() => setSort({ column: index, down: sort?.column === index ? !sort.down : Boolean(column.number) })}
                      >
                        {column.name}
                        <span aria-hidden="true">{sorted ? (sort?.down ? " ▾" : " ▴") : ""}</span>
                      </button>
                    ) : (
                      column.name
                    )}
                  </th>
                );
              })}
            </tr>
          </thead>
          <tbody>
            {ordered.slice(0, shown).map((row, rowIndex) => (
              <tr key={props.rowKey(row, rowIndex)} class={props.rowClass?.(row)}>
                {columns.map((column, index) => {
                  const classes = [column.number ? "number" : "", column.long ? "long" : "", column.mark?.(row) ?? ""].filter(Boolean).join(" ") || undefined;
                  return column.head ? (
                    <th key={index} scope="row" class={classes}>
                      {column.cell(row)}
                    </th>
                  ) : (
                    <td key={index} class={classes}>
                      {column.cell(row)}
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
      {rows.length > shown && (
        <p>
          <button type="button" onClick={() => setShown(shown + 100)}>
            Show {count(Math.min(100, rows.length - shown))} more rows of {count(rows.length)}
          </button>
        </p>
      )}
    </>
  );
}

/** A picture with what it says in a sentence, and its numbers as a table for who wants them. */
export function Figure<R>(props: {
  title: string;
  summary: Children;
  caption?: string;
  rows: readonly R[];
  columns: Column<R>[];
  rowKey: (row: R, index: number) => string | number;
  children: Children;
}): JSX.Element {
  const [open, setOpen] = useState(false);
  const id = useId();
  return (
    <figure aria-labelledby={id}>
      <figcaption id={id}>
        <strong>{props.title}.</strong> {props.summary}
      </figcaption>
      {props.children}
      <p class="tools">
        <button type="button" aria-expanded={open} onClick={() => setOpen(!open)}>
          {open ? "Hide the table" : "Show as table"}
          <span class="hidden">: {props.title}</span>
        </button>
      </p>
      {open && <Table caption={props.caption ?? props.title} quiet rows={props.rows} columns={props.columns} rowKey={props.rowKey} />}
    </figure>
  );
}

/** What is drawn while there is no data, and why there is none. */
export function Loading<T>(props: { of: Loaded<T>; children: (data: T) => Children }): JSX.Element {
  const { data, error, retry } = props.of;
  return (
    <>
      {error && error.kind !== "login" && (
        <p class="problem" role="alert">
          <span aria-hidden="true">! </span>
          {error.message}
          {data !== null && " What is shown is older."}{" "}
          {!isFile && (
            <button type="button" onClick={retry}>
              Try again
            </button>
          )}
        </p>
      )}
      {data === null && !error && <p class="waiting">Loading …</p>}
      {data !== null && props.children(data)}
    </>
  );
}

export function Section(props: {
  title: string;
  children: Children;
  more?: Children;
  /** Whether a link leads to this part of the view: then one is taken to it. */
  here?: boolean;
}): JSX.Element {
  const id = useId();
  const head = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    if (!props.here) return;
    head.current?.scrollIntoView();
    head.current?.focus({ preventScroll: true });
  }, [props.here]);
  return (
    <section aria-labelledby={id}>
      <div class="head">
        <h2 id={id} ref={head} tabIndex={props.here ? -1 : undefined}>
          {props.title}
        </h2>
        {props.more}
      </div>
      {props.children}
    </section>
  );
}

/** Names and values beside each other. */
export function Facts(props: { items: [name: string, value: Children][] }): JSX.Element {
  return (
    <dl class="facts">
      {props.items.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

export function NodeLink(props: { label: string | null }): JSX.Element {
  const href = useHref();
  if (!props.label) return <>{none}</>;
  return (
    <a href={href("node", [props.label])} title={props.label}>
      {short(props.label)}
    </a>
  );
}

export function SequenceLink(props: { sequence: number | null; chain?: number; round?: number; children?: Children }): JSX.Element {
  const href = useHref();
  if (props.sequence === null) return <>{none}</>;
  return <a href={href("sequence", [props.sequence], { chain: props.chain || null, round: props.round })}>{props.children ?? count(props.sequence)}</a>;
}

export function Hash(props: { value: string | null }): JSX.Element {
  return props.value ? (
    <code title={props.value}>{short(props.value)}</code>
  ) : (
    <>{none}</>
  );
}

/** A time; `tall`: its date may stand above it, where room is scarce. */
export function Time(props: { at: Stamp | null | undefined; tall?: boolean }): JSX.Element {
  const text = time(props.at);
  const gap = props.tall ? text.indexOf(" ") : -1;
  if (gap < 0) return <span class="time">{text}</span>;
  return (
    <>
      <span class="time">{text.slice(0, gap)}</span> <span class="time">{text.slice(gap + 1)}</span>
    </>
  );
}

/** The chain of a row, where a run has several. */
export function useChains(): { several: boolean; name: (id: number) => string } {
  const { chains } = useShown();
  return {
    several: chains.length > 1,
    name: (id) => shortChain(chains.find((chain) => chain.chain_id === id)?.chain ?? String(id)),
  };
}

const SEVERITIES: Record<string, string> = { critical: "✗", warning: "!", info: "·" };

export function Severity(props: { severity: string }): JSX.Element {
  return (
    <span class={`severity ${SEVERITIES[props.severity] ? props.severity : ""}`}>
      <span aria-hidden="true">{SEVERITIES[props.severity] ?? "?"} </span>
      {words(props.severity)}
    </span>
  );
}

/** A bar in a cell: the number beside it says the same. */
export function Bar(props: { share: number; tone?: string }): JSX.Element {
  const width = Math.max(0, Math.min(1, Number.isFinite(props.share) ? props.share : 0));
  return (
    <svg class={`bar ${props.tone ?? ""}`} viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" focusable="false">
      <rect x="0" y="0" height="10" width={(100 * width).toFixed(2)} />
    </svg>
  );
}

/** A text with a button that copies it. */
export function Copyable(props: { text: string; label: string }): JSX.Element {
  const [said, setSaid] = useState("");
  const box = useRef<HTMLElement>(null);
  useEffect(() => {
    if (!said) return;
    const timer = setTimeout(() => setSaid(""), 3000);
    return () => clearTimeout(timer);
  }, [said]);
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(props.text);
      setSaid("Copied.");
    } catch {
      // No clipboard without TLS on some hosts: then it is at least selected.
      const selection = getSelection();
      if (box.current) selection?.selectAllChildren(box.current);
      setSaid("Selected: copy it with the keyboard.");
    }
  };
  return (
    <div class="copyable">
      <Scroll label={props.label}>
        <pre>
          <code ref={box}>{props.text}</code>
        </pre>
      </Scroll>
      <button type="button" onClick={copy}>
        Copy<span class="hidden"> {props.label}</span>
      </button>{" "}
      <span role="status">{said}</span>
    </div>
  );
}

/** A choice of few, all of them visible. */
export function Choice(props: { legend: string; value: string; options: [value: string, label: string][]; choose: (value: string) => void }): JSX.Element {
  const name = useId();
  return (
    <fieldset class="choice">
      <legend>{props.legend}</legend>
      {props.options.map(([value, label]) => (
        <label key={value}>
          <input type="radio" name={name} value={value} checked={props.value === value} onChange={() => props.choose(value)} />
          {label}
        </label>
      ))}
    </fieldset>
  );
}

export function Select(props: {
  label: string;
  value: string;
  options: [value: string, label: string][];
  choose: (value: string) => void;
}): JSX.Element {
  return (
    <label class="field">
      <span>{props.label}</span>
      <select value={props.value} onChange={(event) => props.choose(event.currentTarget.value)}>
        {props.options.map(([value, label]) => (
          <option key={value} value={value} selected={value === props.value}>
            {label}
          </option>
        ))}
      </select>
    </label>
  );
}
