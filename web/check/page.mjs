// A page in the headless browser, and what must hold whatever it shows.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** So long nothing is asked before a view counts as drawn, in milliseconds. */
const QUIET = 100;

/** No answer takes as long, in milliseconds. */
const LONGEST = 15000;

/** In every document: how often it gave up each address. The end of such a request is not always told. */
const GIVEN_UP = `
window.givenUp = {};
const ask = window.fetch;
window.fetch = (address, options) => {
  const { signal } = options ?? {};
  const { href } = new URL(address, location.href);
  let over = false;
  signal?.addEventListener("abort", () => { if (!over) window.givenUp[href] = (window.givenUp[href] ?? 0) + 1; }, { once: true });
  const answer = ask(address, options);
  answer.then((response) => { if (response.ok) return response.clone().text(); }).catch(() => {}).finally(() => { over = true; });
  return answer;
};
`;

export async function browser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    // A container has no user namespaces of its own, and often a small /dev/shm.
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-lcd-text", "--enable-precise-memory-info", "--js-flags=--expose-gc"],
  });
}

/** A page that remembers what it should not have done. */
export class Page {
  constructor(page, base) {
    this.page = page;
    this.base = base;
    this.faults = [];
    this.asked = [];
    // Requests that are on their way, and when that changed last: a view that is gone to begins to ask some frames later.
    this.onItsWay = new Set();
    this.moved = Date.now();
    // How often the browser told of each address that the page gave it up.
    this.givenUp = new Map();
    // Answers that a check provokes on purpose are said on the console, too.
    this.expects = [];
    const origin = base.startsWith("file:") ? "file:" : new URL(base).origin;
    page.on("console", (message) => {
      const text = message.text();
      if (["error", "warning"].includes(message.type()) && !this.expects.some((one) => one.test(text))) this.faults.push(`console: ${text}`);
    });
    page.on("pageerror", (error) => this.faults.push(`error: ${error.message}`));
    page.on("requestfinished", (request) => this.ended(request));
    page.on("requestfailed", (request) => {
      if (request.failure()?.errorText.includes("ERR_ABORTED")) this.givenUp.set(request.url(), (this.givenUp.get(request.url()) ?? 0) + 1);
      this.ended(request);
    });
    page.on("request", (request) => {
      const url = request.url();
      this.asked.push(url);
      // Another document: nobody waits for what the one before has asked.
      if (request.isNavigationRequest() && request.frame() === page.mainFrame()) {
        this.onItsWay.clear();
        this.givenUp.clear();
      }
      // The stream of updates has no end.
      if (url.startsWith("http") && !url.includes("/api/v1/updates")) {
        this.onItsWay.add(request);
        this.moved = Date.now();
      }
      if (!url.startsWith(origin) && !url.startsWith("data:")) this.faults.push(`asked another origin: ${url}`);
    });
  }

  ended(request) {
    if (this.onItsWay.delete(request)) this.moved = Date.now();
  }

  /** Drops requests that the page gave up without the browser telling of it. */
  async forgetGivenUp() {
    const given = await this.page.evaluate(() => window.givenUp ?? {});
    for (const [url, times] of Object.entries(given)) {
      const told = this.givenUp.get(url) ?? 0;
      const open = [...this.onItsWay].filter((request) => request.url() === url);
      for (const request of open.slice(0, Math.max(0, times - told))) {
        this.ended(request);
        this.givenUp.set(url, (this.givenUp.get(url) ?? 0) + 1);
      }
    }
  }

  static async open(at, base, options = {}) {
    const context = await at.newContext({ viewport: { width: 1280, height: 900 }, reducedMotion: "reduce", ...options });
    await context.addInitScript(GIVEN_UP);
    return new Page(await context.newPage(), base);
  }

  async close() {
    await this.page.context().close();
  }

  /** Goes to a view and waits until it is drawn and nothing is on its way. */
  async go(route) {
    this.moved = Date.now();
    if (this.page.url().startsWith(this.base)) {
      await this.page.evaluate((hash) => {
        location.hash = hash;
      }, route);
    } else {
      await this.page.goto(this.base + route);
    }
    await this.drawn();
  }

  async drawn() {
    await this.page.waitForFunction(() => document.querySelector("main h1") && !document.querySelector(".waiting"), null, { timeout: 15000 });
    for (;;) {
      const quiet = Date.now() - this.moved;
      if (this.onItsWay.size === 0 && quiet > QUIET) break;
      if (this.onItsWay.size > 0 && quiet > 10 * QUIET) await this.forgetGivenUp();
      if (quiet > LONGEST) throw new Error(`no end of ${[...this.onItsWay].map((request) => request.url()).join(", ")}`);
      await new Promise((done) => setTimeout(done, 10));
    }
    // Answers that came are drawn in the next frame.
    await this.page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
    await this.page.waitForFunction(() => !document.querySelector(".waiting"), null, { timeout: 15000 });
  }

  /** What axe-core finds. */
  async axe() {
    // Evaluated by the debugger, so the page's policy does not forbid it.
    await this.page.evaluate(AXE);
    const found = await this.page.evaluate(() =>
      window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"], resultTypes: ["violations"] }),
    );
    return found.violations.map((violation) => `${violation.id}: ${violation.nodes.slice(0, 3).map((node) => `${node.target.join(" ")} (${node.failureSummary?.split("\n")[1]?.trim()})`).join("; ")}`);
  }

  /** Rows of the table whose caption begins so: texts by the names of the columns. */
  async table(caption) {
    // All rows, not only the first ones.
    for (;;) {
      const more = this.page.locator("table", { has: this.page.locator("caption", { hasText: caption }) }).locator("xpath=ancestor::div[contains(@class,'scroll')]/following-sibling::p[1]/button[contains(., ' more rows of ')]");
      if ((await more.count()) === 0) break;
      await more.first().click();
    }
    return this.page.evaluate((start) => {
      const table = [...document.querySelectorAll("table")].find((one) => one.caption?.textContent?.trim().startsWith(start));
      if (!table) return null;
      const names = [...table.querySelectorAll("thead th")].map((head) => head.textContent.replace(/ [▾▴]$/, "").trim());
      return [...table.querySelectorAll("tbody tr")].map((row) => Object.fromEntries([...row.children].map((cell, index) => [names[index], cell.textContent.replace(/\s+/g, " ").trim()])));
    }, caption);
  }

  async text(selector) {
    return (await this.page.locator(selector).first().textContent())?.replace(/\s+/g, " ").trim();
  }
}

/** A number as the page writes it. */
export function number(text) {
  const digits = text.replace(/^≥\s?/, "").replaceAll(",", "").replace("−", "-");
  return /^-?\d+(\.\d+)?/.test(digits) ? Number.parseFloat(digits) : null;
}

/** A span of time as the page writes it, in nanoseconds, and how exactly it says it. */
export function span(text) {
  const match = /^(\d[\d,]*(?:\.(\d+))?) (ns|µs|ms|s|min|h|days)$/.exec(text.replace(/\s/g, " ").replace(/^≥ ?/, ""));
  if (!match) return null;
  const unit = { ns: 1, µs: 1e3, ms: 1e6, s: 1e9, min: 60e9, h: 3600e9, days: 86400e9 }[match[3]];
  return { value: Number(match[1].replaceAll(",", "")) * unit, within: (0.51 * unit) / 10 ** (match[2]?.length ?? 0) };
}
