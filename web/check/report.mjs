// Checks by name: all of them are run, and those that fail are told at the end.
let passed = 0;
const failed = [];

export async function check(name, body) {
  try {
    await body();
    passed++;
    if (process.env.VERBOSE) console.log(`ok      ${name}`);
  } catch (error) {
    failed.push(name);
    console.log(`FAILED  ${name}\n        ${String(error.message ?? error).split("\n").slice(0, 12).join("\n        ")}`);
  }
}

export function equal(shown, stored, what) {
  if (JSON.stringify(shown) !== JSON.stringify(stored)) throw new Error(`${what}: the page shows ${JSON.stringify(shown)}, the store has ${JSON.stringify(stored)}`);
}

export function holds(condition, what) {
  if (!condition) throw new Error(what);
}

/** How it went; the exit status. */
export function outcome() {
  console.log(`${passed} checks passed${failed.length ? `, ${failed.length} FAILED: ${failed.join("; ")}` : ""}`);
  return failed.length ? 1 : 0;
}
