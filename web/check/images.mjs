// Pictures for README and docs.
import { join } from "node:path";
import { Page } from "./page.mjs";

export async function images(browser, base, run, folder) {
  const wide = { width: 1040, height: 960 };
  for (const [name, view, options] of [
    ["page-overview-light", "overview", { colorScheme: "light", viewport: wide }],
    ["page-overview-dark", "overview", { colorScheme: "dark", viewport: wide }],
    ["page-matrix", "matrix", { colorScheme: "light", viewport: { width: 1040, height: 420 } }],
    ["page-rounds", "rounds?to=17", { colorScheme: "light", viewport: { width: 1280, height: 640 } }],
    ["page-phone", "overview", { colorScheme: "dark", viewport: { width: 390, height: 760 } }],
  ]) {
    const page = await Page.open(browser, base, options);
    await page.go(`#/run/${run}/${view}`);
    await page.page.screenshot({ path: join(folder, `${name}.png`) });
    await page.close();
  }
}
