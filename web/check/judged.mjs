// What counts and what can be judged: rounds that only a liar names, runs of which nothing was read, addresses of nothing.
import { check, equal, holds } from "./report.mjs";
import { number } from "./page.mjs";

const COUNTS = "(standing IS NULL OR standing <> 'claimed')";

export async function judged(page, store, runs) {
  for (const { run_id: run, name } of runs) {
    const go = (view) => page.go(`#/run/${run}/${view}`);
    const inShort = async () => (await page.page.locator(".verdict li").allTextContents()).map((text) => text.replace(/\s+/g, " ").trim());
    const { claimed } = await store.one("SELECT COUNT(*) claimed FROM round WHERE run_id = ? AND standing = 'claimed'", run);
    const { messages } = await store.one("SELECT COALESCE(SUM(messages), 0) messages FROM message_count WHERE run_id = ?", run);

    if (messages === 0) {
      await check(`run ${name}: nothing was read, and nobody is called good`, async () => {
        await go("overview");
        const said = await inShort();
        holds(/^\? ?uncertain: Nothing could be judged: no consensus message was read/.test(said[0]), `first it says "${said[0]}"`);
        const secrets = await store.one("SELECT COUNT(*) n FROM session WHERE run_id = ? AND state = 'no_secret'", run);
        if (secrets.n > 0) holds(said[0].includes(`${secrets.n} of `) && said[0].includes("give --keylog"), `sessions without a secret are not told: "${said[0]}"`);
        equal(await page.page.locator(".verdict .good").count(), 0, "lines that say all is good");
        const all = await page.text("main");
        for (const wrong of ["Nobody: no event", "0 of 0", "No event that no honest node shows"]) holds(!all.includes(wrong), `it says "${wrong}"`);
      });
      continue;
    }

    await check(`run ${name}: rounds that are only spoken of`, async () => {
      const ends = await store.one(`SELECT COUNT(*) n, COUNT(DISTINCT sequence) heights, MIN(sequence) low, MAX(sequence) high FROM round WHERE run_id = ? AND ${COUNTS}`, run);
      await go("rounds");
      const shown = await page.table("Rounds, the latest first");
      equal(shown.length, Math.min(ends.n, 100), "rounds");
      equal(number(shown[0].sequence), ends.high, "the latest height");
      equal(await page.page.locator("input[name=claimed]").count(), claimed > 0 ? 1 : 0, "the switch for what is only spoken of");
      if (claimed > 0) {
        holds((await page.text("main")).includes(`${claimed.toLocaleString("en-GB")} more are only spoken of`), "how many are left out is not said");
        await page.page.locator("input[name=claimed]").check();
        await page.drawn();
        const all = await page.table("Rounds, the latest first");
        equal(all.length, Math.min(ends.n + claimed, 100), "all rounds");
        holds(all.some((row) => row.outcome.endsWith("only spoken of")), "those that are only spoken of are not among them");
      }
      await go(`traffic?from=${ends.low}&to=${Math.min(ends.high + 50, ends.low + 119)}`);
      await page.page.locator("button:has-text('Show as table')").first().click();
      const points = await page.table("Messages by kind, per sequence");
      const stored = await store.one(`SELECT COUNT(DISTINCT sequence) n, MAX(sequence) high FROM message_count JOIN round USING (run_id, sequence, round, chain_id) WHERE run_id = ? AND ${COUNTS} AND sequence < ?`, run, ends.low + 120);
      equal([points.length, number(points.at(-1).sequence)], [stored.n, stored.high], "heights of the chart");
      await go(`sequence/${ends.high}`);
      equal(await page.page.locator("a[rel=next]").count(), 0, "a height above the highest");
    });

    await check(`run ${name}: who is behind events, why rounds were left, where it took longest`, async () => {
      await go("overview");
      const said = await inShort();
      const events = await store.all("SELECT COALESCE(signer, sender, address, ip) node, rule, MIN(CASE severity WHEN 'critical' THEN 0 WHEN 'warning' THEN 1 ELSE 2 END) worst, COUNT(*) n FROM event WHERE run_id = ? AND suspicious = 1 GROUP BY 1, 2 ORDER BY 2", run);
      if (events.length > 0) {
        const nodes = new Map();
        for (const event of events) {
          const one = nodes.get(event.node) ?? { worst: 9, n: 0, rules: [] };
          one.worst = Math.min(one.worst, event.worst);
          one.n += event.n;
          one.rules.push(`${event.rule.replaceAll("_", " ")}${event.n === 1 ? "" : ` ${event.n}`}`);
          nodes.set(event.node, one);
        }
        const [first, second] = [...nodes.values()].sort((a, b) => a.worst - b.worst || b.n - a.n);
        const line = said.find((text) => text.includes("no honest node shows"));
        const named = [...line.matchAll(/\(([^()]*)\)/g)].map((match) => match[1]);
        equal(named.length, Math.min(nodes.size, 8), "nodes that are named");
        if (!second || second.worst !== first.worst || second.n !== first.n) equal(named[0], first.rules.join(", "), "what the first is named for");
      }
      const causes = await store.all("SELECT cause, COUNT(*) n FROM round WHERE run_id = ? AND outcome = 'changed' AND (standing IS NULL OR standing = 'left') GROUP BY cause ORDER BY cause", run);
      const left = said.find((text) => text.includes("left for a higher one"));
      equal(left?.match(/\d[\d,]*(?=,|$)/g)?.reduce((sum, text) => sum + Number(text), 0) ?? 0, causes.reduce((sum, row) => sum + row.n, 0), "rounds that were left, by cause");
      holds(!said.some((text) => text.includes("sent no commit")), "a commit with a wrong signature is called none");
      const block = await store.one(`SELECT sequence, round, preprepare_ns, committed_ns, block_time_ns FROM round WHERE run_id = ? AND ${COUNTS} AND block_time_ns = (SELECT max_ns FROM phase WHERE run_id = ? AND phase = 'block_time' AND chain_id = 0) ORDER BY sequence DESC`, run, run);
      if (block) {
        const row = page.page.locator("tr", { has: page.page.locator("th", { hasText: /^block time$/ }) });
        await row.locator("td a").click();
        await page.drawn();
        equal(number((await page.text("h1")).replace("Sequence ", "")), block.sequence, "where the longest block time leads");
        if (block.preprepare_ns !== null && block.committed_ns !== null) holds((await page.text("main")).includes(`for the preprepare of round ${block.round}`), "how long it waited for its proposal is not said");
      }
    });
  }

  await check("addresses of nothing are said to be so, with the way to the runs", async () => {
    for (const [address, what] of [
      ["#/foo", "There is no page “foo” here."],
      ["#/run/nope/overview", "There is no run “nope” here."],
      [`#/run/${runs[0].run_id}/foo`, "There is no view “foo” here."],
      ["#/run/999999/overview", "there is no run 999999"],
    ]) {
      page.expects.push(/status of 404/);
      await page.go(address);
      holds((await page.text("main .problem")).includes(what), `${address}: "${await page.text("main .problem")}"`);
      equal(await page.page.locator("main .problem li a").count(), Math.min(runs.length, 20), `${address}: runs that are named`);
      equal(await page.page.locator("dl.figures").count(), 0, `${address}: numbers of another run`);
      const found = await page.axe();
      holds(found.length === 0, found.join("\n"));
    }
    await page.page.locator("main .problem li a").first().click();
    await page.drawn();
    equal(await page.text("h1"), "Overview", "where a run leads");
  });
}
