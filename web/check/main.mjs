// Opens the page in a headless browser, and checks it against the store.
//
//   node main.mjs --base URL --store FILE [--run NAME] [--bftap BFTAP --play PREFIX] [--images FOLDER] [--only PART,...]
//
// URL is a server over the SQLite store FILE. BFTAP writes the page's file, and plays the capture PREFIX.pcapng into the store.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { browser } from "./page.mjs";
import { compare } from "./compare.mjs";
import { file } from "./file.mjs";
import { hostile } from "./hostile.mjs";
import { images } from "./images.mjs";
import { judged } from "./judged.mjs";
import { keyboard } from "./keyboard.mjs";
import { live, memory } from "./live.mjs";
import { numbers } from "./numbers.mjs";
import { Page } from "./page.mjs";
import { check, holds, outcome } from "./report.mjs";
import { Store } from "./store.mjs";
import { everyView, views } from "./views.mjs";
import { votes } from "./votes.mjs";

const { values: asked } = parseArgs({
  options: {
    base: { type: "string" },
    store: { type: "string" },
    run: { type: "string" },
    bftap: { type: "string" },
    play: { type: "string" },
    images: { type: "string" },
    only: { type: "string" },
  },
});
if (!asked.base || !asked.store) {
  console.error("usage: node main.mjs --base URL --store FILE [--run NAME] [--bftap BFTAP --play PREFIX] [--images FOLDER] [--only PART,...]");
  process.exit(2);
}
const wanted = (part) => !asked.only || asked.only.split(",").includes(part);
const store = new Store(asked.store);
const chromium = await browser();
const folder = mkdtempSync(join(tmpdir(), "check-page-"));
try {
  const runs = await store.all("SELECT run_id, name FROM run WHERE state = 'complete' ORDER BY run_id");
  const main = (asked.run && runs.find((run) => run.name === asked.run)) || runs[0];
  const run = main.run_id;
  // A height to look at closely: one that an event speaks of, else one in the middle.
  const told = await store.one("SELECT sequence FROM event JOIN message_count USING (run_id, sequence) WHERE run_id = ? AND event.chain_id = 0 ORDER BY event_number LIMIT 1", run);
  const middle = async (id) => (await store.one("SELECT sequence FROM round WHERE run_id = ? AND chain_id = 0 AND outcome = 'decided' ORDER BY sequence LIMIT 1 OFFSET (SELECT COUNT(*) / 3 FROM round WHERE run_id = ? AND chain_id = 0 AND outcome = 'decided')", id, id)).sequence;
  const sequence = told?.sequence ?? (await middle(run));
  const event = (await store.one("SELECT MAX(event_number) n FROM event WHERE run_id = ?", run)).n;
  const node = (await store.one("SELECT label FROM node WHERE run_id = ? ORDER BY validator DESC, node_number LIMIT 1", run)).label;
  const counted = new Set((await store.all("SELECT DISTINCT run_id FROM message_count")).map((row) => row.run_id));
  const other = runs.find((one) => one.run_id !== run);
  const compares = other !== undefined && (await fetch(new URL(`/api/v1/compare?a=${run}&b=${other.run_id}`, asked.base))).ok;
  if (!compares) console.log(`NOT CHECKED: ${other ? "this server does not compare runs" : "there is one run only, nothing to compare"}`);
  const list = views(run, sequence, event, node).filter((view) => compares || !view.route.endsWith("/compare"));

  if (wanted("views")) await everyView(chromium, asked.base, list);
  if (wanted("numbers")) {
    const page = await Page.open(chromium, asked.base);
    for (const one of runs.filter((run) => counted.has(run.run_id))) await numbers(page, store, one.run_id, one.run_id === run ? sequence : await middle(one.run_id));
    await check("numbers: nothing was said on the console", async () => holds(page.faults.length === 0, page.faults.join("\n")));
    await page.close();
  }
  if (wanted("judged")) {
    const page = await Page.open(chromium, asked.base);
    await judged(page, store, runs);
    await check("judged: nothing was said on the console", async () => holds(page.faults.length === 0, page.faults.join("\n")));
    await page.close();
  }
  if (wanted("keyboard")) await keyboard(chromium, asked.base, run, compares ? [] : ["Compare runs"]);
  if (wanted("votes")) await votes(chromium, asked.base, run, node);
  if (wanted("hostile")) await hostile(chromium, asked.base, run, list);
  if (wanted("memory")) {
    await memory(chromium, asked.base, run, [
      ["overview", 500],
      [`sequence/${sequence}`, 100],
      ["health", 100],
    ]);
  }
  if (asked.bftap) {
    const storeUrl = `sqlite://${asked.store}`;
    if (wanted("compare") && compares) {
      const page = await Page.open(chromium, asked.base);
      for (const other of runs.filter((one) => one.run_id !== run).slice(0, 2)) await compare(page, { bftap: asked.bftap, storeUrl }, main, other);
      // Enough heights for intervals.
      const long = runs.filter((one) => one.name.startsWith("long"));
      if (long[0] && long[1]) await compare(page, { bftap: asked.bftap, storeUrl }, long[0], long[1]);
      await check("compare: nothing was said on the console", async () => holds(page.faults.length === 0, page.faults.join("\n")));
      await page.close();
    }
    if (wanted("file")) await file(chromium, store, { bftap: asked.bftap, storeUrl, folder, run, name: main.name }, list.filter((view) => !/\/(messages|sessions|node|votes)\//.test(`${view.route}/`)));
    if (wanted("live") && asked.play) {
      await live(chromium, asked.base, store, { bftap: asked.bftap, storeUrl, capture: `${asked.play}.pcapng`, keylog: `${asked.play}.keylog`, nodes: `${asked.play}.nodes.json` });
    }
  }
  if (asked.images && wanted("images")) await images(chromium, asked.base, run, asked.images);
} finally {
  await chromium.close();
  store.close();
  rmSync(folder, { recursive: true, force: true });
}
process.exit(outcome());
