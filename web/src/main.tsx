// The frame of the page: which run, which view, light or dark, and how live it is.
import { type JSX, render } from "preact";
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Run, RunAnswer, Runs } from "./api";
import { DataError, get, isFile, login } from "./data";
import { BUSY, ShownContext } from "./context";
import { duration, selected, time } from "./format";
import { Live, type LiveState } from "./live";
import { type Route, readRoute, writeRoute } from "./route";
import { Overview } from "./views/overview";
import { TrafficView } from "./views/traffic";
import { MatrixView } from "./views/matrix";
import { CopiesView } from "./views/copies";
import { RoundsView } from "./views/rounds";
import { NodeView, NodesView } from "./views/nodes";
import { EventView, EventsView } from "./views/events";
import { RedundancyView } from "./views/redundancy";
import { LinksView } from "./views/links";
import { PeersView } from "./views/peers";
import { HealthView, SessionsView } from "./views/health";
import { MessagesView, SequenceView } from "./views/sequence";
import { CompareView } from "./views/compare";
import { VotesView } from "./views/votes";

interface View {
  id: string;
  title: string;
  draw: () => JSX.Element;
  /** Views that stand in the list belong to one that does. */
  under?: string;
}

const VIEWS: View[] = [
  { id: "overview", title: "Overview", draw: Overview },
  { id: "traffic", title: "Traffic", draw: TrafficView },
  { id: "matrix", title: "Who sends to whom", draw: MatrixView },
  { id: "copies", title: "Copies", draw: CopiesView },
  { id: "rounds", title: "Rounds", draw: RoundsView },
  { id: "sequence", title: "One sequence", draw: SequenceView },
  { id: "nodes", title: "Nodes", draw: NodesView },
  { id: "events", title: "Events", draw: EventsView },
  { id: "redundancy", title: "Redundancy", draw: RedundancyView },
  { id: "links", title: "Links", draw: LinksView },
  { id: "peers", title: "Peers", draw: PeersView },
  { id: "health", title: "Monitor health", draw: HealthView },
  { id: "compare", title: "Compare runs", draw: CompareView },
  { id: "node", title: "Node", draw: NodeView, under: "nodes" },
  { id: "votes", title: "Votes of a node", draw: VotesView, under: "nodes" },
  { id: "event", title: "Event", draw: EventView, under: "events" },
  { id: "messages", title: "Messages of a sequence", draw: MessagesView, under: "sequence" },
  { id: "sessions", title: "Sessions", draw: SessionsView, under: "health" },
];

function titleOf(view: View, route: Route): string {
  const [part] = route.parts;
  if (part === undefined) return view.title;
  switch (view.id) {
    case "sequence":
      return `Sequence ${part}`;
    case "messages":
      return `Messages of sequence ${part}`;
    case "node":
      return `Node ${part}`;
    case "votes":
      return `Votes of ${part}`;
    case "event":
      return `Event ${part}`;
    default:
      return view.title;
  }
}

/** The run that is meant by `latest`: the newest whose rows count. */
function latestOf(runs: Run[]): Run | undefined {
  return runs.find((run) => run.state === "complete" || (run.state === "running" && run.live));
}

type Theme = "system" | "light" | "dark";

function storedTheme(): Theme {
  try {
    const stored = localStorage.getItem("bftap-theme");
    return stored === "light" || stored === "dark" ? stored : "system";
  } catch {
    return "system";
  }
}

function ThemeChoice(props: { changed: () => void }): JSX.Element {
  const [theme, setTheme] = useState<Theme>(storedTheme);
  useEffect(() => {
    if (theme === "system") document.documentElement.removeAttribute("data-theme");
    else document.documentElement.setAttribute("data-theme", theme);
    try {
      if (theme === "system") localStorage.removeItem("bftap-theme");
      else localStorage.setItem("bftap-theme", theme);
    } catch {
      // A browser that stores nothing forgets the choice, no more.
    }
    props.changed();
  }, [theme]);
  useEffect(() => {
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", props.changed);
    return () => scheme.removeEventListener("change", props.changed);
  }, []);
  return (
    <label class="field">
      <span>Colours</span>
      <select value={theme} onChange={(event) => setTheme(event.currentTarget.value as Theme)}>
        <option value="system">as the system</option>
        <option value="light">light</option>
        <option value="dark">dark</option>
      </select>
    </label>
  );
}

/** How new is what is shown. */
function LiveMark(props: { run: Run | null; live: LiveState }): JSX.Element {
  const { run, live } = props;
  const [, again] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => again((n) => n + 1), 1000);
    return () => clearInterval(timer);
  }, []);
  if (isFile) return <span class="live file">a file: nothing is asked</span>;
  const state = live.update && live.update.run_id === run?.run_id ? live.update : run;
  const running = state?.state === "running" && state.live;
  if (live.connection === "lost") return <span class="live lost">disconnected, trying again</span>;
  if (!running) return <span class="live stored">{state?.state === "running" ? "being written" : "stored"}</span>;
  const quiet = live.heard ? performance.now() - live.heard : 0;
  if (quiet > 10_000) return <span class="live quiet">live, nothing new for {duration(1e9 * Math.round(quiet / 1000))}</span>;
  return <span class="live open">live{state.lag_ns === null ? "" : `, ${(Math.max(0, state.lag_ns) / 1e9).toFixed(1)} s behind`}</span>;
}

function Login(props: { done: () => void }): JSX.Element {
  const [problem, setProblem] = useState("");
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.focus(), []);
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    try {
      if (await login(field.current?.value ?? "")) return props.done();
      setProblem("That is not the token.");
    } catch {
      setProblem("The server cannot be reached.");
    }
    field.current?.select();
  };
  return (
    <main id="main" class="login">
      <h1 tabIndex={-1}>Token needed</h1>
      <p>This server shows its runs only to those who have its token: whoever started it knows it.</p>
      <form method="post" action="/login" onSubmit={submit}>
        <label class="field">
          <span>Token</span>
          <input ref={field} type="password" name="token" autocomplete="current-password" required />
        </label>
        <button type="submit">Show</button>
      </form>
      <p role="alert">{problem}</p>
    </main>
  );
}

function App(): JSX.Element {
  const [route, setRoute] = useState<Route>(() => readRoute(location.hash));
  const [runs, setRuns] = useState<Runs | null>(null);
  const [chosen, setChosen] = useState<RunAnswer | null>(null);
  const [problem, setProblem] = useState<DataError | null>(null);
  const [locked, setLocked] = useState(false);
  const [tick, setTick] = useState(0);
  const [theme, setTheme] = useState(0);
  const [live, setLive] = useState<LiveState>({ connection: "off", update: null, heard: 0 });
  const [menu, setMenu] = useState(false);
  const heading = useRef<HTMLHeadingElement>(null);
  const runId = useMemo(() => (route.unknown !== null ? null : route.run === "latest" ? (runs && latestOf(runs.runs)?.run_id) ?? null : Number(route.run)), [route.run, runs]);
  const known = useRef<number | null>(null);
  known.current = runId;

  useEffect(() => {
    const moved = (): void => {
      setRoute(readRoute(location.hash));
      setMenu(false);
    };
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);

  const failed = useCallback((error: unknown) => {
    if (error instanceof DataError && error.kind === "login") setLocked(true);
    else setProblem(error instanceof DataError ? error : new DataError(String(error), "refused"));
  }, []);

  // The list of runs and the run itself are as new as everything else.
  const asking = useRef<{ again: boolean } | null>(null);
  const load = useCallback(async () => {
    if (asking.current) {
      asking.current.again = true;
      return;
    }
    const mine = { again: false };
    asking.current = mine;
    try {
      const list = await get<Runs>("/api/v1/runs");
      const { run: wanted, unknown } = readRoute(location.hash);
      const id = unknown !== null ? undefined : wanted === "latest" ? latestOf(list.runs)?.run_id : Number(wanted);
      let answer: RunAnswer | null = null;
      try {
        if (id !== undefined) answer = await get<RunAnswer>(`/api/v1/runs/${id}`);
      } catch (error) {
        // What is drawn is not taken away because a server is busy: only if the run is gone.
        if (!(error instanceof DataError) || error.kind !== "absent") throw error;
        setRuns(list);
        setChosen(null);
        throw error;
      }
      // Both at once: a view is not taken away between the two.
      setRuns(list);
      setChosen(answer);
      setProblem(null);
    } catch (error) {
      failed(error);
      if (error instanceof DataError && error.kind === "busy") setTimeout(() => void load(), BUSY);
    } finally {
      asking.current = null;
      if (mine.again) void load();
    }
  }, []);
  useEffect(() => {
    void load();
  }, [route.run, route.unknown, tick, locked]);

  // Stored runs do not change; `latest` may become another one.
  const growing = chosen !== null && chosen.run.state === "running";
  const listens = !isFile && !locked && (route.run === "latest" || growing);
  useEffect(() => {
    if (!listens) {
      setLive({ connection: "off", update: null, heard: 0 });
      return;
    }
    const connection = new Live(route.run, setLive, () => setTick((n) => n + 1));
    return () => connection.close();
  }, [listens, route.run]);

  // Whoever comes to another view is taken to its heading; whoever opens the page is left where browsers start.
  const found = VIEWS.find((one) => one.id === route.view);
  const view = found ?? (VIEWS[0] as View);
  const unknown = route.unknown ?? (found ? null : `view “${route.view}”`);
  const title = unknown === null ? titleOf(view, route) : "No such page";
  const place = [view.id, ...route.parts].join("/");
  const before = useRef(place);
  useEffect(() => {
    document.title = `${title} · ${chosen ? `${chosen.run.name} · ` : ""}bftap`;
    if (before.current === place) return;
    before.current = place;
    scrollTo(0, 0);
    heading.current?.focus({ preventScroll: true });
  }, [place, title, chosen?.run.name]);

  const needLogin = useCallback(() => setLocked(true), []);
  const recolour = useCallback(() => setTheme((n) => n + 1), []);
  if (locked) {
    return (
      <Login
        done={() => {
          setLocked(false);
          setProblem(null);
        }}
      />
    );
  }
  const options = runs?.runs ?? [];
  const current = view.under ?? view.id;
  const Draw = view.draw;
  return (
    <>
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          // The part behind # is the view's address here.
          event.preventDefault();
          heading.current?.focus();
        }}
      >
        Skip to the content
      </a>
      <header>
        <p class="product">
          <a href={writeRoute(route.run, "overview")}>bftap</a>
        </p>
        <label class="field run">
          <span>Run</span>
          <select
            value={route.run}
            onChange={(event) => {
              // What a part of an address names is of one run only.
              location.hash = writeRoute(event.currentTarget.value, view.under ?? view.id);
            }}
          >
            <option value="latest" selected={route.run === "latest"}>
              latest
            </option>
            {options.map((run) => (
              <option key={run.run_id} value={String(run.run_id)} selected={route.run === String(run.run_id)}>
                {run.name} ({run.run_id}
                {run.state === "complete" ? "" : `, ${run.live && run.state === "running" ? "live" : run.state}`})
              </option>
            ))}
            {route.run !== "latest" && !options.some((run) => String(run.run_id) === route.run) && (
              <option value={route.run} selected>
                {route.run}
              </option>
            )}
          </select>
        </label>
        <ThemeChoice changed={recolour} />
        <p class="state">
          <LiveMark run={chosen?.run ?? null} live={live} />
        </p>
        <span class="hidden" role="status">
          {live.connection === "lost" ? "The connection is lost." : growing && live.connection === "open" ? "Live: numbers change by themselves." : ""}
        </span>
        <button type="button" class="menu" aria-expanded={menu} aria-controls="views" onClick={() => setMenu(!menu)}>
          Views
        </button>
      </header>
      <div class="body">
        <nav id="views" aria-label="Views" class={menu ? "open" : undefined}>
          <ul>
            {VIEWS.filter((one) => !one.under).map((one) => (
              <li key={one.id}>
                <a href={writeRoute(route.run, one.id)} aria-current={one.id === current ? "page" : undefined}>
                  {one.title}
                </a>
              </li>
            ))}
          </ul>
        </nav>
        <main id="main">
          <h1 ref={heading} tabIndex={-1}>
            {title}
          </h1>
          {unknown !== null ? (
            <Unknown what={unknown} runs={options} />
          ) : chosen && runId === chosen.run.run_id ? (
            <>
              <p class="of">
                Run <strong>{chosen.run.name}</strong>
                {route.run === "latest" && (
                  <>
                    , the latest (<a href={writeRoute(chosen.run.run_id, view.id, route.parts, Object.fromEntries(route.query))}>an address that stays with it</a>)
                  </>
                )}{" "}
                · {chosen.run.source === "live" ? "live capture" : chosen.run.pace_milli !== null ? "played" : "analysed"}
                {chosen.run.first_seen_ns !== null && ` · from ${time(chosen.run.first_seen_ns)}, ${spanOf(chosen.run)}`}
                {chosen.run.selection && ` · a part only: ${selected(chosen.run.selection)}`}
              </p>
              {chosen.run.state === "failed" && <p class="problem">This run failed and has no rows: {chosen.run.problem}</p>}
              <ShownContext.Provider value={{ run: chosen.run, chains: chosen.chains, runs: options, route, tick, growing, theme, needLogin }}>
                <Draw key={`${chosen.run.run_id}/${place}`} />
              </ShownContext.Provider>
            </>
          ) : problem ? (
            <div class="problem" role="alert">
              <p>{problem.message}</p>
              <p>
                {!isFile && (
                  <button type="button" onClick={() => void load()}>
                    Try again
                  </button>
                )}{" "}
                <a href={writeRoute("latest", "overview")}>Go to the latest run</a>
              </p>
              {problem.kind === "absent" && <RunList runs={options} />}
            </div>
          ) : runs && runId === null ? (
            <p class="empty">
              There is no run yet. <code>bftap analyze</code> and <code>bftap live</code> store some; this page shows them as soon as they are there.
            </p>
          ) : (
            <p class="waiting">Loading …</p>
          )}
        </main>
      </div>
      <footer>
        <p>
          bftap {runs?.version} · times are UTC · ≥: at least, as more may have passed than was seen · –: not known, or does not apply
        </p>
      </footer>
    </>
  );
}

/** Most runs that are named where somebody came to one that is not. */
const NAMED = 20;

/** The way to the runs that there are. */
function RunList(props: { runs: Run[] }): JSX.Element | null {
  const shown = props.runs.filter((run) => run.state === "complete" || (run.state === "running" && run.live)).slice(0, NAMED);
  if (!shown.length) return null;
  return (
    <>
      <p>The runs that there are{shown.length === NAMED ? ", the latest of them" : ""}:</p>
      <ul>
        {shown.map((run) => (
          <li key={run.run_id}>
            <a href={writeRoute(run.run_id, "overview")}>
              {run.name} ({run.run_id})
            </a>
          </li>
        ))}
      </ul>
    </>
  );
}

/** An address that nothing is at: another run's numbers in its place would mislead. */
function Unknown(props: { what: string; runs: Run[] }): JSX.Element {
  return (
    <div class="problem" role="alert">
      <p>There is no {props.what} here.</p>
      <p>
        <a href={writeRoute("latest", "overview")}>Go to the latest run</a>
      </p>
      <RunList runs={props.runs} />
    </div>
  );
}

function spanOf(run: Run): string {
  return run.first_seen_ns === null || run.last_seen_ns === null ? "" : duration(Number(BigInt(run.last_seen_ns) - BigInt(run.first_seen_ns)));
}

const app = document.getElementById("app");
if (app) {
  app.textContent = "";
  render(<App />, app);
}
