// Lists of which the server gives a piece at a time, the latest first: how much of them is shown, and the way to what is earlier.
import type { JSX } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { isFile } from "./data";

/** Rows that are asked for at first, and by how many more at a time. */
export const STEP = 100;
/** Most rows of a piece; behind it one goes on with another. */
const MOST = 500;

export interface Paging {
  /** Rows that are wanted. */
  limit: number;
  /** The same as a parameter of the API: null at first, so that a view's first state has the canonical path. */
  asked: number | null;
  set: (limit: number) => void;
}

export function usePaging(): Paging {
  const [limit, set] = useState(STEP);
  return { limit, asked: limit === STEP ? null : limit, set };
}

/** The buttons below a list. A file has one piece, so nothing to press. */
export function Pager(props: {
  of: { more: boolean; next: string | number | null };
  /** Whether the piece has all the rows that were wanted; false: what is wanted is rare, and asking for more at once finds no more. */
  full?: boolean;
  /** Where the piece begins that is shown; null: at the latest. */
  before: string | null;
  paging: Paging;
  go: (before: string | number | null) => void;
}): JSX.Element {
  const { of, before, paging, go } = props;
  const more = of.more && !isFile;
  const longer = more && props.full !== false && paging.limit < MOST;
  const tools = useRef<HTMLParagraphElement>(null);
  const pressed = useRef(false);
  // When there is no more to show, the button that was pressed for it goes away: who works with the keyboard stays where it was.
  useLayoutEffect(() => {
    if (!pressed.current) return;
    if (longer) {
      pressed.current = tools.current?.contains(document.activeElement) ?? false;
      return;
    }
    pressed.current = false;
    if (document.activeElement === document.body) tools.current?.focus({ preventScroll: true });
  });
  return (
    <p class="tools" ref={tools} tabIndex={-1}>
      {before !== null && (
        <button
          type="button"
          onClick={() => {
            paging.set(STEP);
            go(null);
          }}
        >
          Back to the latest
        </button>
      )}{" "}
      {longer && (
        <button
          type="button"
          onClick={() => {
            pressed.current = true;
            paging.set(Math.min(MOST, paging.limit + STEP));
          }}
        >
          Show {STEP} more
        </button>
      )}{" "}
      {more && of.next !== null && (
        <button
          type="button"
          onClick={() => {
            paging.set(STEP);
            go(of.next);
          }}
        >
          Go on with earlier ones
        </button>
      )}
    </p>
  );
}
