// A capture that is played into the store shows on the page, soon, and without costing memory.
import { spawn } from "node:child_process";
import { check, equal, holds } from "./report.mjs";
import { Page, number } from "./page.mjs";

const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** What the newest run that grows has of messages. */
const GROWING = "SELECT SUM(messages) n FROM message_count WHERE run_id = (SELECT MAX(run_id) FROM run WHERE state = 'complete' OR (state = 'running' AND live = 1)) AND (SELECT COUNT(*) FROM run WHERE state = 'running' AND live = 1) > 0";

/** Plays a capture while the page is open. How long each number took from the store to the page, in milliseconds, and what became of the page. */
async function play(page, store, { bftap, storeUrl, capture, keylog, nodes }, name) {
  await page.go("#/run/latest/overview");
  await page.page.evaluate(() => {
    window.seen = [];
    const look = () => {
      const total = document.querySelector('[data-total="messages"]')?.textContent;
      if (total && window.seen[window.seen.length - 1]?.[0] !== total) window.seen.push([total, Date.now()]);
    };
    new MutationObserver(look).observe(document.querySelector("#app"), { subtree: true, childList: true, characterData: true });
  });
  const player = spawn(bftap, ["analyze", capture, "--keylog", keylog, "--nodes", nodes, "--pace", "2", "--run", name, "--store", storeUrl], { stdio: "ignore" });
  let running = true;
  const ended = new Promise((done) => player.on("exit", done)).then(() => {
    running = false;
  });
  // When the store has a number is looked at by itself: beside questions to the browser it would be seen late just when the page is slow.
  const stored = new Map();
  const sample = async () => {
    while (running) {
      const row = await store.one(GROWING);
      if (row.n !== null && !stored.has(row.n)) stored.set(row.n, Date.now());
      await wait(15);
    }
  };
  let opened = null;
  let state = "";
  const use = async () => {
    while (running) {
      state = (await page.text(".live")) ?? "";
      // What a reader has opened and where the focus is stays through all updates.
      if (stored.size >= 3 && opened === null && (await page.page.locator("button:has-text('Show as table')").count())) {
        opened = "Show as table";
        await page.page.locator("button:has-text('Show as table')").first().focus();
        await page.page.keyboard.press("Enter");
        await page.page.evaluate(() => scrollTo(0, 200));
      }
      await wait(15);
    }
  };
  await Promise.all([ended, sample(), use()]);
  const seen = await page.page.evaluate(() => window.seen);
  const known = seen.filter(([text]) => stored.has(number(text))).map(([text, at]) => at - stored.get(number(text)));
  // A number that the page had before it was seen in the store says nothing of how long it took.
  const delays = known.filter((delay) => delay >= 0).sort((a, b) => a - b);
  const late = delays[Math.floor(0.95 * (delays.length - 1))];
  const about = `${seen.length} in all, ${known.length - delays.length} of them before they were seen in the store, which had ${stored.size}; the page said "${state}"`;
  console.log(`live: ${delays.length} numbers from the store to the page (${about}): median ${delays[Math.floor(delays.length / 2)]} ms, 95 % ${late} ms, longest ${delays[delays.length - 1]} ms`);
  return { delays, late, opened, about };
}

/** Plays a capture while the page is open, and measures how long a number takes from the store to the page. */
export async function live(browser, base, store, what) {
  const page = await Page.open(browser, base);
  await check("live: a number of the store is on the page within a second", async () => {
    let played = await play(page, store, what, "played");
    if (!(played.late < 1000)) {
      // A machine that was busy with other things for a moment is no fault of the page: one that is slow is so again.
      console.log("live: that took too long, once more");
      await page.page.reload();
      played = await play(page, store, what, "played-again");
    }
    holds(played.delays.length >= 5, `only ${played.delays.length} numbers of the played run were measured (${played.about})`);
    holds(played.late < 1000, `95 % took ${played.late} ms`);
    equal(played.opened, "Show as table", "what was opened meanwhile");
    holds((await page.page.locator("figure table").count()) === 1, "the table that was opened is gone");
    equal(await page.page.evaluate(() => [document.activeElement?.tagName, scrollY]), ["BUTTON", 200], "focus and scroll");
  });
  await check("live: once it is complete the page says so, and has all of it", async () => {
    await page.page.waitForFunction(() => document.querySelector(".live")?.textContent === "stored", null, { timeout: 15000 });
    await page.drawn();
    const sum = await store.one("SELECT SUM(messages) n FROM message_count WHERE run_id = (SELECT MAX(run_id) FROM run WHERE state = 'complete')");
    await page.page.waitForFunction((n) => document.querySelector('[data-total="messages"]')?.textContent.replace(/\D/g, "") === String(n), sum.n, { timeout: 5000 });
    holds(page.faults.length === 0, page.faults.join("\n"));
  });
  await page.page.unrouteAll({ behavior: "ignoreErrors" });
  await page.close();
}

/** In place of the browser's event source: the check says when something comes. */
const SOURCE = `
window.sources = [];
window.EventSource = class extends EventTarget {
  constructor(url) { super(); this.url = url; this.readyState = 1; window.sources.push(this); setTimeout(() => this.dispatchEvent(new Event("open")), 0); }
  close() { this.readyState = 2; }
};
window.push = (batches) => {
  const source = window.sources[window.sources.length - 1];
  source.dispatchEvent(new MessageEvent("run", { data: JSON.stringify({ run_id: window.runId, state: "running", live: true, batches, written_ns: 1e18, seen_ns: 1e18, lag_ns: 4e8 }) }));
};
`;

/** Five hundred updates with other numbers each time: heap, elements and listeners stay what they were. */
export async function memory(browser, base, run, views) {
  const page = await Page.open(browser, base);
  await page.page.clock.install();
  await page.page.addInitScript(SOURCE);
  await page.page.addInitScript(`window.runId = ${run};`);
  let update = 0;
  // The run goes on for ever: each answer has other numbers than the one before.
  await page.page.route(/\/api\/v1\/runs/, async (route) => {
    const response = await route.fetch().catch(() => null);
    // The view was left meanwhile.
    if (!response) return;
    const text = await response.text();
    const body = text
      .replaceAll('"state":"complete"', '"state":"running"').replaceAll('"state": "complete"', '"state": "running"')
      .replaceAll('"live":false', '"live":true').replaceAll('"live": false', '"live": true')
      .replace(/"(messages|copies|bytes|segments|payloads|commits|frames)":\s*(\d+)/g, (_, name, value) => `"${name}":${Number(value) + update}`);
    await route.fulfill({ response, body }).catch(() => {});
  });
  const session = await page.page.context().newCDPSession(page.page);
  await session.send("Performance.enable");
  const measure = async () => {
    for (let times = 0; times < 3; times++) await session.send("HeapProfiler.collectGarbage");
    const { metrics } = await session.send("Performance.getMetrics");
    const of = (name) => metrics.find((one) => one.name === name).value;
    return { heap: of("JSHeapUsedSize"), nodes: of("Nodes"), listeners: of("JSEventListeners") };
  };
  const settle = async () => {
    await page.page.waitForLoadState("networkidle");
    await page.page.clock.runFor(50);
  };
  for (const [view, times] of views) {
    await check(`memory: ${times} updates of ${view}`, async () => {
      await page.page.goto("about:blank");
      await page.page.goto(`${base}#/run/${run}/${view}`);
      await page.page.waitForFunction(() => document.querySelector("main h1"));
      await settle();
      await page.page.clock.runFor(1000);
      await settle();
      // The first update says what the views have just asked themselves.
      await page.page.evaluate(() => window.push(0));
      await page.page.clock.runFor(1000);
      const one = async () => {
        update++;
        const answered = page.page.waitForResponse(/\/api\/v1\/runs\/\d+$/);
        await page.page.evaluate((batches) => window.push(batches), update);
        await page.page.clock.runFor(600);
        await answered;
        await page.page.clock.runFor(20);
      };
      for (let warm = 0; warm < 30; warm++) await one();
      await settle();
      const before = await measure();
      for (let count = 30; count < times; count++) await one();
      await settle();
      const after = await measure();
      console.log(`memory: ${view}, ${times} updates: heap ${(before.heap / 1e6).toFixed(2)} to ${(after.heap / 1e6).toFixed(2)} MB, ${before.nodes} to ${after.nodes} nodes, ${before.listeners} to ${after.listeners} listeners`);
      holds(after.heap < 1.15 * before.heap + 1e6, `the heap grew from ${before.heap} to ${after.heap}`);
      holds(after.nodes < 1.2 * before.nodes + 200, `nodes grew from ${before.nodes} to ${after.nodes}`);
      holds(after.listeners < 1.2 * before.listeners + 50, `listeners grew from ${before.listeners} to ${after.listeners}`);
    });
  }
  await check("live: a lost connection is said, and made again, later and later", async () => {
    const sources = () => page.page.evaluate(() => window.sources.length);
    const lose = () => page.page.evaluate(() => window.sources[window.sources.length - 1].dispatchEvent(new Event("error")));
    const start = await sources();
    await lose();
    await page.page.clock.runFor(50);
    equal(await page.text(".live"), "disconnected, trying again", "state");
    await page.page.clock.runFor(700);
    equal(await sources(), start + 1, "connections after the first loss");
    await lose();
    await page.page.clock.runFor(700);
    equal(await sources(), start + 1, "connections soon after the second loss");
    await page.page.clock.runFor(700);
    equal(await sources(), start + 2, "connections later");
    await page.page.evaluate(() => window.push(10_000));
    await page.page.clock.runFor(100);
    equal(await page.text(".live"), "live, 0.4 s behind", "state");
  });
  await page.page.unrouteAll({ behavior: "ignoreErrors" });
  await page.close();
}
