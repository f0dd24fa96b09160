// Two runs side by side: what the page shows is what `bftap diff` says.
import { execFileSync } from "node:child_process";
import { check, equal, holds } from "./report.mjs";
import { number, span } from "./page.mjs";

export async function compare(page, { bftap, storeUrl }, a, b) {
  await check(`compare ${a.name} with ${b.name}`, async () => {
    const said = JSON.parse(execFileSync(bftap, ["diff", a.name, b.name, "--store", storeUrl, "--json"], { encoding: "utf8", maxBuffer: 1 << 26 }));
    await page.go(`#/run/${a.run_id}/compare?with=${b.run_id}`);
    const shown = await page.table("Measures of both runs");
    equal(shown.map((row) => row.measure), said.measures.map((row) => row.measure.trim()), "measures");
    said.measures.forEach((measure, index) => {
      const row = shown[index];
      for (const [name, stored] of [["A", measure.a], ["B", measure.b]]) {
        if (stored === null) equal(row[name], "–", `${measure.measure} of ${name}`);
        else if (measure.unit === "nanoseconds") {
          const time = span(row[name]);
          holds(time ? Math.abs(time.value - stored) <= time.within : row[name] === "0 s" && stored === 0, `${measure.measure} of ${name}: the page shows ${row[name]}, diff says ${stored} ns`);
        } else if (measure.unit !== "bytes") {
          const factor = measure.unit === "share" ? 100 : 1;
          holds(Math.abs(number(row[name]) - factor * stored) <= 0.051, `${measure.measure} of ${name}: the page shows ${row[name]}, diff says ${stored} ${measure.unit}`);
        }
      }
      equal(row["beyond chance"], { true: "differs", false: "may be chance", null: "cannot be told" }[measure.beyond_chance], `${measure.measure} beyond chance`);
    });
    const warnings = (await page.page.locator("main p.problem").allTextContents()).map((text) => text.replace(/\s+/g, " ").trim());
    const suspicious = said.runs.filter((run) => Object.keys(run.suspicious_events).length > 0);
    for (const run of suspicious) {
      const rules = Object.entries(run.suspicious_events).map(([rule, events]) => `${rule.replaceAll("_", " ")} ${events}`);
      holds(warnings.some((text) => text.includes(`no honest node shows (${rules.join(", ")})`)), `events of ${run.run} are not told: ${warnings.join(" / ")}`);
    }
    const few = said.comparable && Math.min(...said.runs.map((run) => run.heights)) < 40;
    equal(warnings.length, suspicious.length + (few ? 1 : 0), "warnings");
    equal(warnings.some((text) => text.includes("too few to tell a difference from chance")), few, "that there are too few heights is told");
    const judged = said.measures.filter((measure) => measure.beyond_chance !== null);
    equal((await page.text("main")).includes("differ beyond chance") || (await page.text("main")).includes("differs beyond chance"), said.comparable && judged.length > 0, "how many differ is told");
    const reasons = (await page.page.locator("main .problem li").allTextContents()).map((text) => text.trim());
    equal(reasons, said.comparable ? [] : said.reasons, "reasons");
  });
}
