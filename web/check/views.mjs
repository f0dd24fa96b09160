// Each view: drawn, in light and dark and on a phone, without what axe-core finds, without asking anybody else.
import { check, holds } from "./report.mjs";
import { Page } from "./page.mjs";

/** Views with what must be in them. */
export function views(run, sequence, event, node) {
  return [
    ["overview", "h2:text('In short') >> nth=0", "dl.figures a"],
    ["traffic", ".u-over", "input[type=range]"],
    ["matrix", "table.matrix button"],
    ["matrix?show=redundancy", "table.matrix button"],
    ["matrix?show=delay", "table.matrix"],
    ["copies", "table tbody tr"],
    ["rounds", "table tbody tr", "svg.phases"],
    ["rounds?above_zero=1", "h1"],
    ["nodes", "table tbody tr"],
    [`node/${encodeURIComponent(node)}`, "dl.facts", ".u-over"],
    [`votes/${encodeURIComponent(node)}`, "p[role=status]", "table tbody tr .vote"],
    [`votes/${encodeURIComponent(node)}?counted=commits`, "table tbody tr .vote"],
    ["events", "h1", ...(event === null ? [] : ["table tbody tr"])],
    ...(event === null ? [] : [[`event/${event}`, "dl.facts", "p.lead"]]),
    ["redundancy", "table tbody tr"],
    ["links", "table tbody tr"],
    ["peers", "table tbody tr"],
    ["health", "dl.facts", "table tbody tr"],
    ["sessions", "table tbody tr"],
    ["sequence", "table.truth"],
    [`sequence/${sequence}`, "table.truth", "svg.phases"],
    [`messages/${sequence}`, ".u-over", "table tbody tr"],
    ["compare", "h1"],
  ].map(([route, ...parts]) => ({ route: `#/run/${run}/${route}`, parts }));
}

export async function everyView(browser, base, list) {
  const looks = [
    ["light", { colorScheme: "light" }],
    ["dark", { colorScheme: "dark" }],
    ["on a phone, light", { colorScheme: "light", viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true }],
    ["on a phone, dark", { colorScheme: "dark", viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true }],
  ];
  for (const [look, options] of looks) {
    const page = await Page.open(browser, base, options);
    for (const view of list) {
      await check(`${view.route} ${look}`, async () => {
        page.faults.length = 0;
        await page.go(view.route);
        for (const part of view.parts) holds((await page.page.locator(part).count()) > 0, `there is no ${part}`);
        holds((await page.page.locator("main .problem[role=alert]").count()) === 0, `a problem is shown: ${await page.page.locator("main .problem[role=alert]").allTextContents()}`);
        const width = await page.page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
        holds(width[0] <= width[1], `the page is ${width[0]} wide on a screen of ${width[1]}`);
        const found = await page.axe();
        holds(found.length === 0, found.join("\n"));
        // A table for each chart, with the same look.
        for (const button of await page.page.locator("button:has-text('Show as table')").all()) await button.click();
        if (await page.page.locator("figure table").count()) {
          const opened = await page.axe();
          holds(opened.length === 0, opened.join("\n"));
        }
        holds(page.faults.length === 0, page.faults.join("\n"));
      });
    }
    await page.close();
  }
}
