// What all views know: which run is shown, and when to ask again.
import { createContext } from "preact";
import { useContext, useEffect, useRef, useState } from "preact/hooks";
import type { Chain, Run } from "./api";
import { DataError, get } from "./data";
import { type Parameters, type Route, writeRoute } from "./route";

export interface Shown {
  run: Run;
  chains: Chain[];
  runs: Run[];
  route: Route;
  /** Rises when there is something new: data is then asked for again. */
  tick: number;
  /** Whether rows may still come. */
  growing: boolean;
  /** Rises when colours change, for what is painted on canvases. */
  theme: number;
  needLogin: () => void;
}

export const ShownContext = createContext<Shown>(null as unknown as Shown);

export function useShown(): Shown {
  return useContext(ShownContext);
}

/** The address of a view of the run that is shown. */
export function useHref(): (view: string, parts?: (string | number)[], parameters?: Parameters) => string {
  const { route } = useShown();
  return (view, parts, parameters) => writeRoute(route.run, view, parts, parameters);
}

export interface Loaded<T> {
  data: T | null;
  error: DataError | null;
  /** Whether what is shown is of another question than the one that is asked. */
  stale: boolean;
  retry: () => void;
}

/** How long after an answer that the server is busy it is asked again, in milliseconds. */
export const BUSY = 3000;

/**
 * The answer to a path; null asks nothing. Asked again when something is new, but not while an answer is still on its way: then
 * once more afterwards. What was there stays until the new answer is.
 */
export function useData<T>(path: string | null): Loaded<T> {
  const { tick, needLogin } = useShown();
  const [held, setHeld] = useState<{ path: string | null; data: T | null; error: DataError | null }>({ path: null, data: null, error: null });
  const [retries, setRetries] = useState(0);
  const flight = useRef<{ path: string; abort: AbortController; again: boolean } | null>(null);

  useEffect(() => {
    if (path === null) {
      flight.current?.abort.abort();
      flight.current = null;
      return;
    }
    if (flight.current) {
      if (flight.current.path === path) {
        flight.current.again = true;
        return;
      }
      flight.current.abort.abort();
    }
    const ask = (): void => {
      const mine = { path, abort: new AbortController(), again: false };
      flight.current = mine;
      get<T>(path, mine.abort.signal).then(
        (data) => done(mine, { path, data, error: null }),
        (error: unknown) => {
          const known = error instanceof DataError ? error : new DataError(String(error), "refused");
          if (known.kind === "login" && flight.current === mine) needLogin();
          done(mine, (before) => ({ path, data: before.path === path && known.kind !== "absent" ? before.data : null, error: known }));
          if (known.kind === "busy" && !mine.abort.signal.aborted) setTimeout(() => flight.current === null && setRetries((n) => n + 1), BUSY);
        },
      );
    };
    const done = (mine: { again: boolean }, next: Parameters_<typeof setHeld>): void => {
      if (flight.current !== mine) return;
      flight.current = null;
      setHeld(next);
      if (mine.again) ask();
    };
    ask();
  }, [path, tick, retries]);

  useEffect(
    () => () => {
      flight.current?.abort.abort();
      // Nothing that still comes may be taken for an answer.
      flight.current = { path: "", abort: new AbortController(), again: false };
    },
    [],
  );

  // Numbers of one run never stand under the name of another, nor those of two runs under two others.
  const data = held.path !== null && path !== null && subject(held.path) !== subject(path) ? null : held.data;
  return { data, error: held.path === path ? held.error : null, stale: held.path !== path, retry: () => setRetries((n) => n + 1) };
}

/** What a path is about: a run, or all of it. */
function subject(path: string): string {
  const run = /^\/api\/v1\/runs\/[^/?]+/.exec(path);
  return run ? run[0] : path;
}

type Parameters_<F> = F extends (value: infer V) => void ? V : never;

/** The API's path of something of the run that is shown. */
export function useRunPath(): (rest?: string) => string {
  const { run } = useShown();
  return (rest = "") => `/api/v1/runs/${run.run_id}${rest ? `/${rest}` : ""}`;
}
