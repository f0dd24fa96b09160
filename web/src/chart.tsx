// Lines and points over heights or time, drawn by uPlot. What a chart says is also in a sentence, a table (Figure), and a slider
// that goes from point to point with the keyboard.
import type { JSX } from "preact";
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { useShown } from "./context";

export type Shape = "circle" | "square" | "triangle" | "diamond";

export interface Series {
  label: string;
  values: (number | null)[];
  /** Name of the colour in app.css. */
  colour: string;
  dash?: number[];
  shape?: Shape;
  /** No line between the points. */
  points?: boolean;
}

export interface ChartProps {
  /** Ascending; heights, seconds since 1970, or milliseconds. */
  x: number[];
  series: Series[];
  xName: string;
  yName: string;
  /** Whether x is a time since 1970. */
  clock?: boolean;
  xText: (x: number) => string;
  yText: (y: number) => string;
  /** Names of whole y values: lanes instead of a scale. */
  lanes?: string[];
  height?: number;
  /** Where a point leads. */
  href?: (index: number) => { href: string; text: string } | null;
  /** What a point says, instead of the values of its series. */
  describe?: (index: number) => string;
}

/** More points than these have no marks of their own: they would touch each other. */
const MARKED = 150;

function outline(shape: Shape, path: Path2D, x: number, y: number, radius: number): void {
  switch (shape) {
    case "circle":
      path.moveTo(x + radius, y);
      path.arc(x, y, radius, 0, 2 * Math.PI);
      break;
    case "square":
      path.rect(x - 0.9 * radius, y - 0.9 * radius, 1.8 * radius, 1.8 * radius);
      break;
    case "triangle":
      path.moveTo(x, y - 1.2 * radius);
      path.lineTo(x + 1.15 * radius, y + 0.9 * radius);
      path.lineTo(x - 1.15 * radius, y + 0.9 * radius);
      path.closePath();
      break;
    case "diamond":
      path.moveTo(x, y - 1.35 * radius);
      path.lineTo(x + 1.35 * radius, y);
      path.lineTo(x, y + 1.35 * radius);
      path.lineTo(x - 1.35 * radius, y);
      path.closePath();
      break;
  }
}

function marks(shape: Shape): (u: uPlot, series: number, first: number, last: number) => { stroke: Path2D; fill: Path2D } {
  return (u, series, first, last) => {
    const path = new Path2D();
    const values = u.data[series] as (number | null)[];
    const times = u.data[0];
    for (let index = first; index <= last; index++) {
      const value = values[index];
      const at = times[index];
      if (value === null || value === undefined || at === undefined) continue;
      const x = u.valToPos(at, "x", true);
      const y = u.valToPos(value, "y", true);
      if (x >= u.bbox.left - 1 && x <= u.bbox.left + u.bbox.width + 1) outline(shape, path, x, y, 3.5 * devicePixelRatio);
    }
    return { stroke: path, fill: path };
  };
}

/** Times of a clock, UTC: with the day where it begins, with seconds where they tell ticks apart. */
function clockTexts(splits: number[], increment: number): string[] {
  let day = "";
  return splits.map((split) => {
    const text = new Date(split * 1000).toISOString();
    const clock = text.slice(11, increment < 60 ? 19 : 16);
    if (text.slice(0, 10) === day) return increment >= 86_400 ? "" : clock;
    day = text.slice(0, 10);
    return increment >= 86_400 ? day : `${clock}\n${day}`;
  });
}

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim() || "gray";
}

/** The look of a series beside its name: its dash and its mark, not its colour alone. */
export function Swatch(props: { series: Series }): JSX.Element {
  const { series } = props;
  const path: Record<Shape, string> = {
    circle: "M20 6 m-4 0 a4 4 0 1 0 8 0 a4 4 0 1 0 -8 0",
    square: "M16.5 2.5 h7 v7 h-7 z",
    triangle: "M20 1.5 L24.5 10 L15.5 10 z",
    diamond: "M20 1 L25 6 L20 11 L15 6 z",
  };
  return (
    <svg class={`swatch ink-${series.colour}`} width="40" height="12" viewBox="0 0 40 12" aria-hidden="true" focusable="false">
      {!series.points && <line x1="1" y1="6" x2="39" y2="6" stroke-width="2" stroke-dasharray={series.dash?.join(" ")} />}
      {series.shape && <path d={path[series.shape]} class="mark" />}
    </svg>
  );
}

export function Chart(props: ChartProps): JSX.Element {
  const { theme } = useShown();
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(props);
  latest.current = props;
  const [at, setAt] = useState<number | null>(null);
  const [zoomed, setZoomed] = useState(false);
  const slider = useId();
  const height = props.height ?? 260;
  // A new chart where lines or lanes are others; new numbers alone only move what is there.
  const build = JSON.stringify([props.series.map((series) => [series.label, series.dash, series.shape, series.points, series.colour]), props.lanes, props.clock, theme, height]);
  const marked = props.x.length <= MARKED;

  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const given = latest.current;
    const ink = colour("ink-soft");
    const grid = { stroke: colour("line"), width: 1 };
    const lanes = given.lanes;
    const font = "12px system-ui, sans-serif";
    let longest = 4;
    if (lanes) longest = Math.min(14, Math.max(...lanes.map((lane) => lane.length), 1));
    const u = new uPlot(
      {
        width: Math.max(200, element.clientWidth),
        height,
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
        legend: { show: false },
        // Half of the last tick's text stands beyond the axis.
        padding: [null, 24, null, null],
        cursor: { y: false, drag: { x: true, y: false, dist: 6 }, points: { show: !lanes } },
        scales: {
          x: { time: Boolean(given.clock) },
          y: lanes ? { range: [-0.7, lanes.length - 0.3] } : { range: (_u, _low, high) => [0, high > 0 ? high * 1.08 : 1] },
        },
        axes: [
          { stroke: ink, grid, ticks: grid, font, label: given.xName, labelFont: font, labelSize: 20, space: given.clock ? 90 : 50, values: (_u, splits, _axis, _space, increment) => (given.clock ? clockTexts(splits, increment) : splits.map((split) => latest.current.xText(split))) },
          lanes
            ? {
                stroke: ink,
                grid,
                ticks: grid,
                font,
                size: 20 + 7 * longest,
                splits: () => lanes.map((_, index) => index),
                values: (_u, splits) => splits.map((split) => (latest.current.lanes?.[split] ?? "").slice(0, 14)),
              }
            : { stroke: ink, grid, ticks: grid, font, size: 60, values: (_u, splits) => splits.map((split) => latest.current.yText(split)) },
        ],
        series: [
          {},
          ...given.series.map((series) => ({
            label: series.label,
            stroke: colour(series.colour),
            width: 2,
            dash: series.dash,
            ...(series.points && series.shape
              ? { paths: marks(series.shape) as uPlot.Series.PathBuilder, fill: colour(series.colour), points: { show: false } }
              : {
                  points: series.shape
                    ? { show: () => latest.current.x.length <= MARKED, fill: colour(series.colour), paths: marks(series.shape) as uPlot.Series.Points.PathBuilder, size: 7 }
                    : { show: false },
                }),
          })),
        ],
        hooks: {
          setCursor: [
            (u: uPlot) => {
              if (u.cursor.idx !== null && u.cursor.idx !== undefined) setAt(u.cursor.idx);
            },
          ],
          setScale: [
            (u: uPlot, key: string) => {
              if (key !== "x") return;
              const times = u.data[0];
              const { min, max } = u.scales.x ?? {};
              const first = times[0];
              const last = times[times.length - 1];
              if (first !== undefined && last !== undefined && min !== undefined && max !== undefined && min !== null && max !== null) {
                setZoomed(min > first || max < last);
              }
            },
          ],
        },
      } as uPlot.Options,
      [given.x, ...given.series.map((series) => series.values)] as uPlot.AlignedData,
      element,
    );
    plot.current = u;
    let down = 0;
    const pressed = (event: MouseEvent): void => {
      down = event.clientX;
    };
    const clicked = (event: MouseEvent): void => {
      // A drag chooses a range; a click follows the point.
      if (Math.abs(event.clientX - down) > 4 || u.cursor.idx === null || u.cursor.idx === undefined) return;
      const to = latest.current.href?.(u.cursor.idx);
      if (to) location.hash = to.href;
    };
    u.over.addEventListener("mousedown", pressed);
    u.over.addEventListener("click", clicked);
    const resized = new ResizeObserver(() => {
      if (element.clientWidth && element.clientWidth !== u.width) u.setSize({ width: element.clientWidth, height });
    });
    resized.observe(element);
    return () => {
      resized.disconnect();
      u.destroy();
      plot.current = null;
    };
  }, [build]);

  const first = useRef(true);
  useEffect(() => {
    if (first.current) {
      first.current = false;
      return;
    }
    const u = plot.current;
    if (!u) return;
    u.setData([props.x, ...props.series.map((series) => series.values)] as uPlot.AlignedData, !zoomed);
    if (zoomed) u.redraw();
  }, [props.x, props.series]);

  const whole = (): void => {
    const u = plot.current;
    const start = props.x[0];
    const end = props.x[props.x.length - 1];
    if (u && start !== undefined && end !== undefined) u.setScale("x", { min: start, max: end });
  };
  const go = (index: number): void => {
    setAt(index);
    const u = plot.current;
    const value = props.x[index];
    if (u && value !== undefined) u.setCursor({ left: u.valToPos(value, "x"), top: 10 }, false);
  };

  const index = at === null ? null : Math.min(at, props.x.length - 1);
  const here = index === null || index < 0 ? undefined : props.x[index];
  const said =
    here === undefined || index === null
      ? ""
      : props.describe
        ? props.describe(index)
        : `${props.xName} ${props.xText(here)}: ${props.series
            .filter((series) => series.values[index] !== null && series.values[index] !== undefined)
            .map((series) => `${series.label} ${props.yText(series.values[index] as number)}`)
            .join(", ")}`;
  const to = index === null ? null : (props.href?.(index) ?? null);
  return (
    <div class="chart">
      <ul class="legend" aria-label="Series">
        {props.series.map((series) => (
          <li key={series.label}>
            <Swatch series={marked || series.points ? series : { ...series, shape: undefined }} /> {series.label}
          </li>
        ))}
      </ul>
      <div class="plot" ref={box} aria-hidden="true" />
      {props.x.length > 0 && (
        <div class="reader">
          <label for={slider}>Point</label>
          <input
            id={slider}
            type="range"
            min={0}
            max={props.x.length - 1}
            value={index ?? props.x.length - 1}
            aria-valuetext={said || "no point chosen"}
            onInput={(event) => go(Number(event.currentTarget.value))}
          />
          <span class="said">{said || "Point at the chart, or move the slider."}</span>
          {to && <a href={to.href}>{to.text}</a>}
          {zoomed && (
            <button type="button" onClick={whole}>
              Show all
            </button>
          )}
        </div>
      )}
    </div>
  );
}

export const KIND_LOOK: Record<string, { colour: string; dash?: number[]; shape: Shape }> = {
  preprepare: { colour: "preprepare", shape: "circle" },
  prepare: { colour: "prepare", dash: [8, 4], shape: "square" },
  commit: { colour: "commit", dash: [2, 3], shape: "triangle" },
  roundchange: { colour: "roundchange", dash: [10, 3, 2, 3], shape: "diamond" },
};
