// The self-contained file: the same views, and nothing is asked of anybody.
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { check, equal, holds } from "./report.mjs";
import { Page, number } from "./page.mjs";

export async function file(browser, store, { bftap, storeUrl, folder, run, name }, views) {
  const html = join(folder, "page.html");
  execFileSync(bftap, ["report", "--store", storeUrl, "--run", name, "--html", html], { stdio: "ignore" });
  const page = await Page.open(browser, pathToFileURL(html).href, { colorScheme: "light" });
  for (const view of views) {
    await check(`file: ${view.route}`, async () => {
      page.faults.length = 0;
      await page.go(view.route);
      for (const part of view.parts) holds((await page.page.locator(part).count()) > 0, `there is no ${part}`);
      const found = await page.axe();
      holds(found.length === 0, found.join("\n"));
      holds(page.faults.length === 0, page.faults.join("\n"));
    });
  }
  await check("file: totals are the store's, and nothing was asked", async () => {
    await page.go("#/run/latest/overview");
    const sums = await store.one("SELECT SUM(messages) m, SUM(useful) u FROM message_count WHERE run_id = ?", run);
    equal([number(await page.text('[data-total="messages"]')), number(await page.text('[data-total="of these useful"]'))], [sums.m, sums.u], "messages");
    equal(await page.text(".live"), "a file: nothing is asked", "state");
    await page.go("#/run/latest/rounds?above_zero=1");
    const above = (await store.one("SELECT COUNT(*) n FROM round WHERE run_id = ? AND round > 0 AND (standing IS NULL OR standing <> 'claimed')", run)).n;
    equal(((await page.table("Rounds, the latest first")) ?? []).length, above, "rounds above 0");
    // Heights that were are in it before those that somebody only speaks of.
    const stored = await store.all("SELECT DISTINCT sequence FROM round WHERE run_id = ? AND chain_id = 0 AND (standing IS NULL OR standing <> 'claimed') ORDER BY sequence DESC LIMIT 30", run);
    for (const { sequence } of [stored[0], stored.at(-1)]) {
      await page.go(`#/run/latest/sequence/${sequence}`);
      equal(await page.page.locator("main .problem").count(), 0, `height ${sequence} is not in the file`);
    }
    await page.go("#/run/latest/events?suspicious=1");
    const suspicious = (await store.one("SELECT COUNT(*) n FROM event WHERE run_id = ? AND suspicious = 1", run)).n;
    equal(((await page.table("Events, the latest first")) ?? []).length, suspicious, "suspicious events");
    // Numbers of validators lead down here, too, to lists that are in the file; what is not does not lead.
    const most = await store.one("SELECT validator, missing n FROM participation WHERE run_id = ? ORDER BY missing DESC LIMIT 1", run);
    await page.go("#/run/latest/nodes");
    equal(await page.page.locator("a[href*='counted=commits']").count(), 0, "links to what is not in the file");
    if (most?.n > 0) {
      await page.page.locator(`a[href*="/votes/${encodeURIComponent(most.validator)}?counted=missing"]`).first().click();
      await page.drawn();
      equal((await page.table("Votes of")).length, Math.min(most.n, 100), "missing votes");
      const found = await page.axe();
      holds(found.length === 0, found.join("\n"));
    }
    await page.go(`#/run/latest/votes/${encodeURIComponent(most?.validator ?? "x")}`);
    holds((await page.text("main .problem")).includes("not in this file"), "votes that are not in the file are not said to be so");
    const shown = await store.one("SELECT MAX(event_number) n FROM event WHERE run_id = ? AND payloads IS NOT NULL AND payloads <> '[]'", run);
    if (shown?.n !== null && (await store.one("SELECT COUNT(*) n FROM event WHERE run_id = ? AND event_number > ?", run, shown.n)).n < 100) {
      await page.go(`#/run/latest/event/${shown.n}`);
      holds((await page.text(".copyable code")).startsWith(`bftap evidence ${shown.n} `), "how a bundle of evidence is made is not in the file");
    }
    await page.go("#/run/latest/sessions");
    holds((await page.text("main .problem")).includes("not in this file"), "what is not in the file is not said to be so");
    equal([...new Set(page.asked)], [pathToFileURL(html).href], "what was asked");
  });
  await page.close();
}
