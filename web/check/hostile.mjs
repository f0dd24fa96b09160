// Names that peers give themselves are text, whatever they are; who has no token is asked for it; a server in trouble is said.
import { check, equal, holds } from "./report.mjs";
import { Page } from "./page.mjs";

const NAME = `<img src=x onerror="window.hit=1">"'></table><script>window.hit=1</script>\u202e{{7*7}}${"A".repeat(400)}`;

export async function hostile(browser, base, run, views) {
  const page = await Page.open(browser, base, { viewport: { width: 360, height: 740 } });
  await page.page.route(/\/api\/v1\/runs/, async (route) => {
    const response = await route.fetch();
    const body = JSON.stringify(await response.json(), (key, value) =>
      ["client", "label", "name", "detail", "receiver", "sender", "signer", "node", "validator", "proposer", "value", "path", "rule", "initiator", "version"].includes(key) && typeof value === "string" ? NAME : value,
    );
    await route.fulfill({ response, body });
  });
  await check("hostile names are text in every view, and do not push the page aside", async () => {
    for (const view of views) {
      await page.go(view.route);
      const found = await page.page.evaluate(() => ({ hit: window.hit, images: document.querySelectorAll("img").length, scripts: document.querySelectorAll("body script").length, width: document.documentElement.scrollWidth, screen: innerWidth }));
      equal([found.hit, found.images, found.scripts], [undefined, 0, 0], view.route);
      holds(found.width <= found.screen, `${view.route}: the page is ${found.width} wide on a screen of ${found.screen}`);
    }
    holds(await page.page.evaluate(() => document.body.textContent.includes("<img src=x onerror")), "the name is not shown at all");
    holds(page.faults.length === 0, page.faults.join("\n"));
  });
  await page.close();

  const locked = await Page.open(browser, base);
  locked.expects.push(/status of 401/);
  let open = false;
  await locked.page.route(/\/api\/v1\//, (route) => (open ? route.continue() : route.fulfill({ status: 401, contentType: "application/json", body: '{"error":"a token is needed"}' })));
  await locked.page.route(/\/login$/, (route) => {
    const right = route.request().method() === "POST" && route.request().postData() === "token=right+one%21";
    open = right;
    return right ? route.fulfill({ status: 200, contentType: "text/plain", body: "" }) : route.fulfill({ status: 401, contentType: "application/json", body: '{"error":"this is not the token"}' });
  });
  await check("login: asked for, refused, given", async () => {
    await locked.page.goto(`${base}#/run/${run}/rounds`);
    await locked.page.waitForSelector("main.login input");
    equal(await locked.page.evaluate(() => document.activeElement?.getAttribute("name")), "token", "where the focus is");
    const found = await locked.axe();
    holds(found.length === 0, found.join("\n"));
    await locked.page.keyboard.type("wrong");
    await locked.page.keyboard.press("Enter");
    await locked.page.waitForFunction(() => document.querySelector("main.login [role=alert]")?.textContent.includes("not the token"));
    await locked.page.locator("main.login input").fill("right one!");
    await locked.page.keyboard.press("Enter");
    await locked.page.waitForSelector("nav");
    await locked.drawn();
    equal(await locked.text("h1"), "Rounds", "where it leads");
    holds(locked.faults.length === 0, locked.faults.join("\n"));
  });
  await locked.close();

  const troubled = await Page.open(browser, base);
  troubled.expects.push(/status of (404|503)/, /ERR_FAILED/);
  await check("trouble: a busy server is asked again, one that is away is said, no such run leads back", async () => {
    let busy = true;
    await troubled.page.route(/\/rounds$/, (route) => (busy ? route.fulfill({ status: 503, contentType: "application/json", headers: { "retry-after": "1" }, body: '{"error":"too many ask"}' }) : route.continue()));
    await troubled.page.goto(`${base}#/run/${run}/rounds`);
    await troubled.page.waitForSelector("main .problem");
    holds((await troubled.text("main .problem")).includes("too many ask"), "what is wrong is not said");
    busy = false;
    await troubled.page.waitForSelector("main svg.phases", { timeout: 10000 });
    equal(await troubled.page.locator("main .problem").count(), 0, "problems left");
    // A run that cannot be asked for does not take away what is drawn.
    await troubled.page.route(/\/api\/v1\/runs$/, (route) => route.abort());
    await troubled.go(`#/run/${run}/copies`);
    await troubled.page.waitForSelector("main table");
    await troubled.page.unroute(/\/api\/v1\/runs$/);
    await troubled.page.route(/\/nodes$/, (route) => route.abort());
    await troubled.go(`#/run/${run}/nodes`).catch(() => {});
    await troubled.page.waitForFunction(() => document.querySelector("main .problem")?.textContent.includes("cannot be reached"));
    await troubled.page.evaluate(() => {
      location.hash = "#/run/999999/overview";
    });
    await troubled.page.waitForFunction(() => document.querySelector("main .problem a"));
    await troubled.page.locator("main .problem a").first().click();
    await troubled.page.waitForSelector("dl.figures");
    holds(troubled.faults.length === 0, troubled.faults.join("\n"));
  });
  await troubled.close();
}
