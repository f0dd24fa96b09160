// What the server pushes: that there is something new. The views then ask again for what they show.
import type { Update } from "./api";

export type Connection = "off" | "connecting" | "open" | "lost";

export interface LiveState {
  connection: Connection;
  update: Update | null;
  /** When the latest update came, by this machine's steady clock, in milliseconds. */
  heard: number;
}

/** Views are asked to draw anew at most so often, in milliseconds. */
const LEAST_BETWEEN = 500;
const LONGEST_WAIT = 30_000;

/** Listens for updates of a run until it is closed, and connects again, later and later, when the connection is lost. */
export class Live {
  state: LiveState = { connection: "off", update: null, heard: 0 };
  private source: EventSource | null = null;
  private wait = 500;
  private again: ReturnType<typeof setTimeout> | undefined;
  private due: ReturnType<typeof setTimeout> | undefined;
  private told = -LEAST_BETWEEN;
  private missed = false;
  private closed = false;

  constructor(
    private readonly run: string,
    /** The state of the connection changed, or an update came. */
    private readonly changed: (state: LiveState) => void,
    /** Time to ask again. */
    private readonly fresh: () => void,
  ) {
    document.addEventListener("visibilitychange", this.seen);
    this.connect();
  }

  close(): void {
    this.closed = true;
    document.removeEventListener("visibilitychange", this.seen);
    clearTimeout(this.again);
    clearTimeout(this.due);
    this.source?.close();
  }

  private set(state: Partial<LiveState>): void {
    this.state = { ...this.state, ...state };
    this.changed(this.state);
  }

  private connect(): void {
    const source = new EventSource(`/api/v1/updates?run=${encodeURIComponent(this.run)}`);
    this.source = source;
    this.set({ connection: "connecting" });
    source.addEventListener("open", () => this.set({ connection: "open" }));
    source.addEventListener("run", (event) => {
      let update: Update | null;
      try {
        // Null: the run is gone, or there is none yet.
        update = JSON.parse((event as MessageEvent<string>).data) as Update | null;
      } catch {
        return;
      }
      this.wait = 500;
      const first = this.state.heard === 0;
      this.set({ connection: "open", update, heard: performance.now() });
      // The first answer after the page was opened says what its views have just asked themselves.
      if (!first) this.tell();
    });
    source.addEventListener("error", () => {
      // The browser's own reconnection gives up for good on some answers and hurries on others.
      source.close();
      if (this.closed) return;
      this.set({ connection: "lost" });
      clearTimeout(this.again);
      this.again = setTimeout(() => this.connect(), this.wait * (0.75 + Math.random() / 2));
      this.wait = Math.min(this.wait * 2, LONGEST_WAIT);
    });
  }

  private tell(): void {
    if (document.hidden) {
      this.missed = true;
      return;
    }
    if (this.due !== undefined) return;
    const left = this.told + LEAST_BETWEEN - performance.now();
    this.due = setTimeout(
      () => {
        this.due = undefined;
        this.told = performance.now();
        this.fresh();
      },
      Math.max(0, left),
    );
  }

  /** A page that nobody sees asks for nothing; once it is seen again it does. */
  private readonly seen = (): void => {
    if (!document.hidden && this.missed) {
      this.missed = false;
      this.tell();
    }
  };
}
