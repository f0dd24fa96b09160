// Pictures for README and docs.
import { join } from "node:path";
import { Page } from "./page.mjs";

export async function images(browser, base, run, folder) {
  const wide = { width: 1160, height: 860 };
  for (const [name, view, options] of [
    ["page-overview-light", "overview", { colorScheme: "light", viewport: wide }],
    ["page-overview-dark", "overview", { colorScheme: "dark", viewport: wide }],
    ["page-matrix", "matrix", { colorScheme: "light", viewport: { width: 1160, height: 560 } }],
    ["page-rounds", "rounds", { colorScheme: "light", viewport: { width: 1160, height: 700 } }],
    ["page-phone", "overview", { colorScheme: "dark", viewport: { width: 390, height: 844 } }],
  ]) {
    const page = await Page.open(browser, base, options);
    await page.go(`#/run/${run}/${view}`);
    await page.page.screenshot({ path: join(folder, `${name}.png`) });
    await page.close();
  }
}
