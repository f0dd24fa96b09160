// Lists of votes that come in pieces: the runs of other checks are too short for more than one, so the pieces are given here.
import { check, equal, holds } from "./report.mjs";
import { Page } from "./page.mjs";

/** Questions that the page asks for one list at most, as web/src/views/votes.tsx has it. */
const QUESTIONS = 60;

const LIST = /\/api\/v1\/runs\/\d+\/votes\?/;

/** A vote at a height. */
const vote = (signer, sequence) => ({
  sequence, round: 0, chain_id: 0, kind: "commit", signer, position: 0, digest: null, first_ns: "1700000000000000000",
  first_sender: signer, reached: 3, of_nodes: 3, not_reached: [], state: "complete", outcome: "decided",
});

/** A piece of the list. */
const piece = (signer, heights, next) => ({
  signer, votes: heights.map((sequence) => vote(signer, sequence)), more: next !== null, next, scanned_to: next === null ? null : Number(next.split(",")[0]),
});

const down = (from, count) => Array.from({ length: count }, (_, index) => from - index);

/** A page whose lists of votes are answered by `give`, with what is asked of each; `asked` remembers it. */
async function open(browser, base, give) {
  const page = await Page.open(browser, base);
  page.pieces = [];
  await page.page.route(LIST, async (route) => {
    const asked = new URL(route.request().url()).searchParams;
    page.pieces.push({ before: asked.get("before"), limit: asked.get("limit") });
    const body = JSON.stringify(await give(asked, page.pieces.length));
    await route.fulfill({ contentType: "application/json", body }).catch(() => {});
  });
  return page;
}

async function close(page) {
  holds(page.faults.length === 0, page.faults.join("\n"));
  await page.page.unrouteAll({ behavior: "ignoreErrors" });
  await page.close();
}

/** Something that a check lets happen. */
function gate() {
  let pass;
  const passed = new Promise((done) => {
    pass = done;
  });
  return { pass, passed };
}

const status = (page) => page.text("main p[role=status]");
const buttons = (page) => page.page.locator("main p.tools button").allTextContents();
const heights = async (page) => ((await page.table("Votes of")) ?? []).map((row) => Number(row.sequence.replaceAll(",", "")));
const focused = (page) => page.page.evaluate(() => document.activeElement?.textContent.trim().slice(0, 40));

export async function votes(browser, base, run, node) {
  const route = `#/run/${run}/votes/${encodeURIComponent(node)}`;

  await check("votes: a list that comes in three pieces, the first of them empty", async () => {
    const [second, third] = [gate(), gate()];
    const page = await open(browser, base, async (asked) => {
      switch (asked.get("before")) {
        case null:
          return piece(node, [], "3000,0,0");
        case "3000,0,0":
          await second.passed;
          return piece(node, [2500, 2400], "2000,0,0");
        default:
          equal(asked.get("before"), "2000,0,0", "what is asked for");
          await third.passed;
          return piece(node, [7], null);
      }
    });
    await page.page.goto(base + route);
    const says = (text) => page.page.waitForFunction((text) => document.querySelector("main .waiting")?.textContent.includes(text), text, { timeout: 15000 });
    await says("Looking further down than height 3,000");
    equal(await heights(page), [], "rows of the empty piece");
    second.pass();
    await says("Looking further down than height 2,000");
    equal(await heights(page), [2500, 2400], "rows of two pieces");
    equal(await buttons(page), [], "buttons while it looks");
    third.pass();
    await page.drawn();
    equal(await heights(page), [2500, 2400, 7], "rows of all pieces");
    equal(await status(page), "3 votes, all of them.", "status");
    equal(await buttons(page), [], "buttons of a list that is whole");
    equal(page.pieces, [{ before: null, limit: null }, { before: "3000,0,0", limit: null }, { before: "2000,0,0", limit: "98" }], "what was asked");
    await close(page);
  });

  await check("votes: more of a list is shown where it is, and the focus stays", async () => {
    let held = null;
    const page = await open(browser, base, async (asked, number) => {
      const limit = Number(asked.get("limit") ?? 100);
      const from = asked.get("before") === null ? 1000 : Number(asked.get("before").split(",")[0]) - 1;
      if (number > 1) await held.passed;
      // There are 250, of which one answer finds 150 at most.
      const count = Math.min(limit, 150, from - 750);
      const last = from - count + 1;
      return piece(node, down(from, count), last === 751 ? null : `${last},0,0,commit,0`);
    });
    await page.go(route);
    equal((await heights(page)).length, 100, "rows at first");
    equal(await buttons(page), ["Show 100 more", "Go on with earlier ones"], "buttons");
    for (const [rows, left] of [[200, ["Show 100 more", "Go on with earlier ones"]], [250, []]]) {
      held = gate();
      const before = (await heights(page)).length;
      await page.page.locator("main p.tools button").first().focus();
      await page.page.keyboard.press("Enter");
      await page.page.waitForSelector("main .waiting");
      equal([(await heights(page)).length, await focused(page)], [before, "Show 100 more"], "rows and focus while it looks");
      held.pass();
      await page.drawn();
      equal(await heights(page), down(1000, rows), "rows");
      equal(await buttons(page), left, "buttons");
      if (left.length) equal(await focused(page), "Show 100 more", "focus");
    }
    equal(await page.page.evaluate(() => document.activeElement?.className), "tools", "focus where the button was");
    equal(await status(page), "250 votes, all of them.", "status");
    await close(page);
  });

  await check("votes: it does not look for ever, and goes on where it is told to", async () => {
    const page = await open(browser, base, async (asked) => {
      const from = Number((asked.get("before") ?? "900000").split(",")[0]);
      return piece(node, from === 900000 - 500 * QUESTIONS ? [12] : [], `${from - 500},0,0`);
    });
    await page.go(route);
    equal(page.pieces.length, QUESTIONS, "questions");
    equal(await status(page), "0 votes, the latest down to height 870,000; there may be more further down.", "status");
    equal(await buttons(page), ["Go on with earlier ones"], "buttons");
    await page.page.locator("main p.tools button").click();
    await page.page.waitForFunction(() => location.hash.includes("before=870000"));
    await page.drawn();
    equal([page.pieces.length, page.pieces[QUESTIONS].before], [2 * QUESTIONS, "870000,0,0"], "questions further down");
    equal(await heights(page), [12], "rows further down");
    equal(await buttons(page), ["Back to the latest", "Go on with earlier ones"], "buttons further down");
    await close(page);
  });

  await check("votes: the table's number stands beside the list that it counts only", async () => {
    const page = await open(browser, base, async () => piece(node, [9, 8, 7], null));
    await page.go(`${route}?counted=commits`);
    const counts = Number(/The table of nodes counts ([\d,]+)\./.exec(await page.text("main"))?.[1].replaceAll(",", ""));
    holds(counts > 3, `${counts} are not more than are listed`);
    equal(await page.text("main p.problem"), `${counts.toLocaleString("en-US")} are counted and 3 stored: the rest was not written, or was removed; the count is of the whole run.`, "what is said of the rest");
    for (const part of ["kind=commit", "state=complete"]) {
      await page.go(`${route}?counted=commits&${part}`);
      equal((await page.text("main")).includes("table of nodes"), false, `whether a number is said with ${part}`);
      equal(await page.page.locator("main p.problem").count(), 0, "problems");
    }
    await close(page);
  });
}
