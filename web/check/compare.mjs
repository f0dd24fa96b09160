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
    const reasons = (await page.page.locator("main .problem li").allTextContents()).map((text) => text.trim());
    equal(reasons, said.comparable ? [] : said.reasons, "reasons");
  });
}
