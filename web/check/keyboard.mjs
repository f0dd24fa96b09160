// The keyboard alone reaches and works every view.
import { check, equal, holds } from "./report.mjs";
import { Page } from "./page.mjs";

const NAV = ["Overview", "Traffic", "Who sends to whom", "Copies", "Rounds", "One sequence", "Nodes", "Events", "Redundancy", "Links", "Peers", "Monitor health", "Compare runs"];

/** Where the focus is. */
const focused = (page) =>
  page.page.evaluate(() => {
    const element = document.activeElement;
    if (!element || element === document.body) return null;
    const style = getComputedStyle(element);
    const name = element.getAttribute("aria-label") ?? element.labels?.[0]?.textContent ?? element.textContent ?? "";
    return { tag: element.tagName, name: name.replace(/\s+/g, " ").trim(), inMain: Boolean(element.closest("main")), outline: style.outlineStyle !== "none" && Number.parseFloat(style.outlineWidth) > 0 };
  });

/** Presses Tab until the focus is where it is wanted. */
async function tabTo(page, wanted, most = 400) {
  for (let pressed = 0; pressed < most; pressed++) {
    await page.page.keyboard.press("Tab");
    const at = await focused(page);
    if (at && wanted(at)) return at;
  }
  throw new Error(`${most} times Tab did not lead to ${wanted}`);
}

export async function keyboard(browser, base, run, without) {
  const page = await Page.open(browser, base);
  await page.go(`#/run/${run}/overview`);

  await check("keyboard: the first stop leads past the navigation", async () => {
    await page.page.keyboard.press("Tab");
    const at = await focused(page);
    equal(at?.name, "Skip to the content", "first stop");
    await page.page.keyboard.press("Enter");
    equal((await focused(page))?.tag, "H1", "where it leads");
    const next = await tabTo(page, () => true);
    holds(next.inMain, `after it comes ${next.name}`);
  });

  for (const name of NAV.filter((one) => !without.includes(one))) {
    await check(`keyboard: ${name}`, async () => {
      await page.page.reload();
      await page.drawn();
      await tabTo(page, (at) => at.tag === "A" && at.name === name && !at.inMain);
      await page.page.keyboard.press("Enter");
      await page.drawn();
      equal(await page.text("nav [aria-current=page]"), name, "the current view");
      if (name !== "Overview") equal((await focused(page))?.tag, "H1", "where the focus is");
      // Every stop can be seen and has a name, and the page's end is reached.
      const stops = [];
      for (let pressed = 0; pressed < 120; pressed++) {
        await page.page.keyboard.press("Tab");
        const at = await focused(page);
        if (!at) break;
        if (!at.inMain && stops.length && stops[stops.length - 1].inMain) break;
        stops.push(at);
        holds(at.outline, `the focus on ${at.tag} ${at.name} cannot be seen`);
        holds(at.name !== "" || at.tag === "INPUT", `a ${at.tag} has no name`);
      }
      const inMain = await page.page.evaluate(() => document.querySelectorAll("main a[href], main button:enabled, main select, main input").length);
      holds(inMain === 0 || stops.some((at) => at.inMain), "nothing in the view is reached");
    });
  }

  await check("keyboard: a chart's points, its table, and the way to a sequence", async () => {
    await page.go(`#/run/${run}/traffic?from=1&to=20`);
    await page.page.locator("h1").focus();
    await tabTo(page, (at) => at.tag === "INPUT" && at.name === "Point");
    await page.page.keyboard.press("ArrowLeft");
    await page.page.keyboard.press("ArrowLeft");
    const said = await page.text(".reader .said");
    holds(/^sequence \d+: preprepare/.test(said), `the slider says ${said}`);
    equal(await page.page.locator(".reader input").getAttribute("aria-valuetext"), said, "what is told of the slider");
    await tabTo(page, (at) => at.tag === "A" && at.name.startsWith("Open sequence"));
    await tabTo(page, (at) => at.tag === "BUTTON" && at.name.startsWith("Show as table"));
    await page.page.keyboard.press("Enter");
    holds((await page.page.locator("figure table").count()) === 1, "no table");
    await page.page.keyboard.press("Shift+Tab");
    await page.page.keyboard.press("Enter");
    await page.drawn();
    holds((await page.text("h1")).startsWith("Sequence "), "the link leads nowhere");
  });

  await check("keyboard: from a number of a validator to its votes, and to the round", async () => {
    await page.go(`#/run/${run}/nodes`);
    await page.page.locator("h1").focus();
    const number = await tabTo(page, (at) => at.tag === "A" && / commits of /.test(at.name));
    await page.page.keyboard.press("Enter");
    await page.drawn();
    equal(await page.text("h1"), `Votes of ${number.name.split(" of ")[1]}`, "where it leads");
    equal((await focused(page))?.tag, "H1", "where the focus is");
    const votes = Number(number.name.split(" ")[0]);
    equal((await page.table("Votes of")).length, Math.min(votes, 100), "votes");
    const row = (await page.table("Votes of"))[0];
    await tabTo(page, (at) => at.tag === "A" && at.name === row.sequence);
    await page.page.keyboard.press("Enter");
    await page.drawn();
    equal([await page.text("h1"), (await focused(page))?.name], [`Sequence ${row.sequence}`, `Round ${row.round}`], "where that leads");
  });

  await check("keyboard: cells of the matrix, heads that sort, filters", async () => {
    await page.go(`#/run/${run}/matrix`);
    await page.page.locator("table.matrix button").first().focus();
    await page.page.keyboard.press("Enter");
    holds((await page.page.locator(".picked dl").count()) === 1, "a cell does not open");
    await page.page.locator("input[type=radio]").first().focus();
    await page.page.keyboard.press("ArrowRight");
    await page.drawn();
    holds(page.page.url().includes("show=redundancy"), "the arrow does not choose");
    await page.go(`#/run/${run}/nodes`);
    await page.page.locator("button.sort", { hasText: "messages / useful" }).focus();
    await page.page.keyboard.press("Enter");
    equal(await page.page.locator("th[aria-sort]").getAttribute("aria-sort"), "descending", "how it is sorted");
    const order = (await page.table("The nodes, and the messages")).map((row) => Number.parseFloat(row["messages / useful"].replace("≥ ", "")) || 0);
    equal(order, [...order].sort((a, b) => b - a), "order of rows");
  });
  await check("keyboard: nothing was said on the console", async () => holds(page.faults.length === 0, page.faults.join("\n")));
  await page.close();
}
