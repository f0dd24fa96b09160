// The page's numbers are the store's, asked by queries of our own.
import { check, equal, holds } from "./report.mjs";
import { number, span } from "./page.mjs";

/** A span that is shown is the stored one, as exactly as it is said. */
function sameSpan(shown, stored, what) {
  if (stored === null) return equal(shown, "–", what);
  const said = span(shown);
  if (Number(stored) === 0) return equal(shown, "0 s", what);
  holds(said && Math.abs(said.value - Number(stored)) <= said.within, `${what}: the page shows ${shown}, the store has ${stored} ns`);
}

/** What each number of a validator counts. */
const BEHIND = {
  missing: "kind = 'commit' AND state = 'missing' AND outcome = 'decided'",
  unknown: "kind = 'commit' AND state = 'unknown' AND first_ns IS NULL AND outcome = 'decided'",
  partial: "state = 'partial'",
  late: "state = 'late'",
  proposals: "kind = 'preprepare' AND first_ns IS NOT NULL AND position = 0",
  prepares: "kind = 'prepare' AND first_ns IS NOT NULL AND position = 0 AND outcome = 'decided'",
  commits: "kind = 'commit' AND first_ns IS NOT NULL AND position = 0 AND outcome = 'decided'",
  roundchanges: "kind = 'roundchange' AND first_ns IS NOT NULL AND position = 0",
};

const since = (from, to) => (from === null || to === null ? null : Number(BigInt(to) - BigInt(from)));

export async function numbers(page, store, run, sequence) {
  const go = (view) => page.go(`#/run/${run}/${view}`);
  await check(`run ${run}: totals`, async () => {
    await go("overview");
    const total = async (name) => number(await page.text(`[data-total="${name}"]`));
    const sums = await store.one("SELECT SUM(messages) m, SUM(useful) u FROM message_count WHERE run_id = ?", run);
    equal(await total("messages"), sums.m, "messages");
    equal(await total("of these useful"), sums.u, "useful");
    equal(await total("messages / useful"), Number((sums.m / sums.u).toFixed(2)), "redundancy factor");
    equal(await total("rounds"), (await store.one("SELECT COUNT(*) n FROM round WHERE run_id = ? AND (standing IS NULL OR standing <> 'claimed')", run)).n, "rounds");
    equal(await total("validators"), (await store.one("SELECT COUNT(*) n FROM node WHERE run_id = ? AND validator = 1", run)).n, "validators");
    equal(await total("events"), (await store.one("SELECT COUNT(*) n FROM event WHERE run_id = ?", run)).n, "events");
    const lower = (await store.one("SELECT SUM(lower_bound) n FROM message_count WHERE run_id = ?", run)).n > 0;
    equal((await page.text('[data-total="messages"]')).startsWith("≥"), lower, "whether messages are a lower bound");
    const phases = await store.all("SELECT phase, rounds, p50_ns, p95_ns, max_ns FROM phase WHERE run_id = ?", run);
    const shown = (await page.table("How long phases took")) ?? [];
    equal(shown.length, phases.length, "number of phases");
    for (const row of shown) {
      const stored = phases.find((one) => one.phase === row.phase.replaceAll(" ", "_"));
      holds(stored, `no phase ${row.phase} is stored`);
      equal(number(row.rounds), stored.rounds, `rounds of ${row.phase}`);
      sameSpan(row.median, stored.p50_ns, `median of ${row.phase}`);
      sameSpan(row["95 %"], stored.p95_ns, `95 % of ${row.phase}`);
      sameSpan(row.longest, stored.max_ns, `longest ${row.phase}`);
    }
  });

  await check(`run ${run}: messages by kind and causes`, async () => {
    await go("redundancy");
    const kinds = await page.table("Messages by kind");
    for (const row of kinds.filter((one) => one.kind !== "all")) {
      const sums = await store.one("SELECT SUM(messages) m, SUM(useful) u, SUM(repeats) r, SUM(echoes) e, SUM(invalid) i FROM message_count WHERE run_id = ? AND kind = ?", run, row.kind);
      equal([number(row.messages), number(row.useful), number(row.repeats), number(row.echoes), number(row.invalid)], [sums.m, sums.u, sums.r, sums.e, sums.i], row.kind);
    }
    equal(kinds.length - 1, (await store.one("SELECT COUNT(DISTINCT kind) n FROM message_count WHERE run_id = ?", run)).n, "number of kinds");
    const causes = (await page.table("Copies of no use, by cause")) ?? [];
    const stored = await store.all("SELECT cause, SUM(copies) copies FROM waste WHERE run_id = ? GROUP BY cause", run);
    equal(causes.map((row) => [row.cause.replaceAll(" ", "_"), number(row.copies)]).sort(), stored.map((row) => [row.cause, row.copies]).sort(), "copies by cause");
    const whatIf = (await page.table("What other forwarding policies")) ?? [];
    const policies = await store.all("SELECT policy, messages, not_delivered FROM what_if WHERE run_id = ?", run);
    equal(whatIf.map((row) => [row.policy.replaceAll(" ", "_"), number(row.messages), number(row["not delivered"])]).sort(), policies.map((row) => [row.policy, row.messages, row.not_delivered]).sort(), "what if");
  });

  await check(`run ${run}: sums of each node, participation, score`, async () => {
    await go("nodes");
    const shown = await page.table("The nodes, and the messages");
    const stored = await store.all(
      `SELECT label, SUM(messages) m, SUM(useful) u, SUM(repeats) r, SUM(echoes) e FROM node LEFT JOIN node_ip USING (run_id, node_number)
       LEFT JOIN message_count ON message_count.run_id = node.run_id AND message_count.receiver_ip = node_ip.ip WHERE node.run_id = ? GROUP BY node_number ORDER BY node_number`,
      run,
    );
    equal(
      shown.map((row) => [number(row.messages), number(row.useful), number(row.repeats), number(row.echoes)]),
      stored.map((row) => [row.m ?? 0, row.u ?? 0, row.r ?? 0, row.e ?? 0]),
      "sums of nodes",
    );
    const participation = await store.all(
      `SELECT validator, SUM(rounds) rounds, SUM(commits) commits, SUM(prepares) prepares, SUM(proposals) proposals, SUM(proposals_due) due, SUM(missing) missing,
       SUM(partial) partial, SUM(late) late, SUM("unknown") hidden, SUM(invalid) invalid, MIN(commit_delay_p50_ns) delay, COUNT(*) chains FROM participation WHERE run_id = ? GROUP BY validator`,
      run,
    );
    const rows = (await page.table("What each validator took part in")) ?? [];
    equal(rows.length, participation.length, "number of validators with participation");
    for (const stored of participation) {
      const row = rows.find((one) => one.node === stored.validator || (one.node.includes("…") && stored.validator.startsWith(one.node.split("…")[0])));
      holds(row, `${stored.validator} is not shown`);
      equal(row.commits, `${stored.commits.toLocaleString("en-GB")} of ${stored.rounds.toLocaleString("en-GB")}`, `commits of ${stored.validator}`);
      equal(row.proposed, `${stored.proposals} (${stored.due} due)`, `proposals of ${stored.validator}`);
      equal(
        [row.prepares, row.missing, row.partial, row.late, row.unknown, row.invalid].map(number),
        [stored.prepares, stored.missing, stored.partial, stored.late, stored.hidden, stored.invalid],
        `participation of ${stored.validator}`,
      );
      if (stored.chains === 1) sameSpan(row["delay, median"], stored.delay, `delay of ${stored.validator}`);
      const score = await store.one("SELECT score_milli FROM score WHERE run_id = ? AND node = ?", run, stored.validator);
      if (score) equal(number(row.score), Number((score.score_milli / 1000).toFixed(1)), `score of ${stored.validator}`);
    }
  });

  await check(`run ${run}: from the numbers of validators down to their votes, and to the round`, async () => {
    for (const name of Object.keys(BEHIND)) {
      const most = await store.all(`SELECT validator, SUM("${name}") n FROM participation WHERE run_id = ? GROUP BY validator HAVING n > 0 ORDER BY n DESC, validator LIMIT 2`, run);
      for (const { validator, n } of most) {
        await go("nodes");
        const link = page.page.locator(`a[href*="/votes/${encodeURIComponent(validator)}?counted=${name}"]`).first();
        holds(Number((await link.textContent()).replaceAll(",", "")) === n, `${name} of ${validator} is shown as ${await link.textContent()}, the store has ${n}`);
        await link.click();
        await page.drawn();
        equal(await page.text("h1"), `Votes of ${validator}`, "where it leads");
        const stored = await store.all(
          `SELECT vote.sequence, vote.round, vote.kind, vote.state FROM vote JOIN round USING (run_id, chain_id, sequence, round) WHERE vote.run_id = ? AND signer = ? AND ${BEHIND[name]} ORDER BY vote.sequence DESC, vote.round DESC`,
          run,
          validator,
        );
        equal(stored.length, n, `votes that ${name} of ${validator} count`);
        const shown = await page.table("Votes of");
        const key = (row) => `${row[0]} ${row[1]} ${row[2]} ${row[3]}`;
        const rows = shown.map((row) => [number(row.sequence), number(row.round), row.kind.split(" ")[0], row.state.replace(/^\S+ /, "").replaceAll(" ", "_")]);
        if (n <= 100) {
          equal(rows.map(key).sort(), stored.map((row) => key([row.sequence, row.round, row.kind, row.state])).sort(), `${name} of ${validator}`);
          holds((await page.text("main [role=status]")).endsWith("all of them."), "that these are all is not said");
          equal(await page.page.locator("main p.problem").count(), 0, "problems");
        } else {
          equal(rows.map((row) => row[0]), stored.slice(0, 100).map((row) => row.sequence), `${name} of ${validator}`);
          holds((await page.text("main [role=status]")).includes("may be more"), "that there are more is not said");
          await page.page.locator("button:has-text('Go on with earlier ones')").click();
          await page.drawn();
          equal((await page.table("Votes of")).map((row) => number(row.sequence)), stored.slice(100, 200).map((row) => row.sequence), `earlier ${name} of ${validator}`);
          await page.page.locator("button:has-text('Back to the latest')").click();
          await page.drawn();
        }
        const [sequence, round] = rows[0];
        await page.page.locator("main tbody th a").first().click();
        await page.drawn();
        equal(number((await page.text("h1")).replace("Sequence ", "")), sequence, "the sequence that it leads to");
        equal(await page.page.evaluate(() => document.activeElement?.textContent?.trim()), `Round ${round}`, "the part of it");
      }
    }
  });

  await check(`run ${run}: from invalid messages to the events about such`, async () => {
    const claimed = await store.all("SELECT validator, SUM(invalid) n FROM participation WHERE run_id = ? GROUP BY validator HAVING n > 0 ORDER BY validator", run);
    await go("nodes");
    equal(await page.page.locator("main a[href*='rule=bad_signature']").count(), claimed.length, "numbers that lead to events");
    if (!claimed.length) return;
    await page.page.locator(`main a[aria-label="${claimed[0].n.toLocaleString("en-GB")} invalid that claim to be from ${claimed[0].validator}: events about such messages"]`).click();
    await page.drawn();
    equal(await page.text("h1"), "Events", "where it leads");
    const events = await store.all("SELECT event_number FROM event WHERE run_id = ? AND rule IN ('bad_signature', 'wrong_signer') ORDER BY event_number DESC LIMIT 100", run);
    holds(events.length > 0, "there are no such events");
    equal((await page.table("Events, the latest first")).map((row) => number(row.number)), events.map((row) => row.event_number), "events");
    equal(await page.page.locator("label:has-text('Rule') select").evaluate((select) => select.selectedOptions[0].textContent), "bad signature, wrong signer", "the rules that are chosen");
  });

  await check(`run ${run}: who is blamed for what no honest node does stands first, and its events are those`, async () => {
    await go("overview");
    const order = ["critical", "warning", "info"];
    const events = await store.all("SELECT COALESCE(signer, sender) node, severity, COUNT(*) n FROM event WHERE run_id = ? AND suspicious = 1 AND COALESCE(signer, sender) IS NOT NULL GROUP BY 1, 2", run);
    const known = new Set((await store.all("SELECT label FROM node WHERE run_id = ?", run)).map((row) => row.label));
    const worst = new Map();
    for (const event of events.filter((one) => known.has(one.node)).sort((a, b) => order.indexOf(a.severity) - order.indexOf(b.severity))) if (!worst.has(event.node)) worst.set(event.node, event);
    const wanted = [...worst.values()].sort((a, b) => order.indexOf(a.severity) - order.indexOf(b.severity) || b.n - a.n).slice(0, 8);
    const shown = ((await page.table("Nodes that stand out")) ?? []).filter((row) => row["suspicious events"] !== "–");
    equal(shown.map((row) => row["suspicious events"]), wanted.map((event) => `${event.n.toLocaleString("en-GB")} ${event.severity}`), "suspicious events of nodes");
    if (!wanted.length) return;
    await page.page.locator("a[href*='blamed=']").first().click();
    await page.drawn();
    equal(((await page.table("Events, the latest first")) ?? []).length, Math.min(wanted[0].n, 100), "events of who stands first");
  });

  await check(`run ${run}: matrix, each cell`, async () => {
    const stored = await store.all("SELECT sender, receiver, SUM(messages) n FROM link_count WHERE run_id = ? GROUP BY sender, receiver", run);
    const wasted = new Map((await store.all("SELECT sender, receiver, SUM(copies) n FROM waste WHERE run_id = ? GROUP BY sender, receiver", run)).map((row) => [`${row.sender} ${row.receiver}`, row.n]));
    const cells = async () => new Map(await page.page.evaluate(() => [...document.querySelectorAll("table.matrix td[data-cell]")].map((cell) => [cell.dataset.cell, cell.textContent.trim()])));
    await go("matrix");
    let shown = await cells();
    if (shown.size === 0) {
      // Many nodes are drawn: go through some cells with the keyboard.
      const names = [...new Set(stored.flatMap((link) => [link.sender, link.receiver]))].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
      holds(names.length > 30, "there is no matrix");
      await page.page.locator(".picture").focus();
      for (let column = 1; column < names.length; column++) {
        const link = stored.find((one) => one.sender === names[0] && one.receiver === names[column]);
        const said = await page.page.locator(".picture").getAttribute("aria-label");
        holds(said.endsWith(`${names[0]} to ${names[column]}: ${link ? link.n.toLocaleString("en-GB") : "–"}`), `the cell from ${names[0]} to ${names[column]} says "${said}"`);
        if (link) equal(number(await page.text(".picked dd")), link.n, `${names[0]} to ${names[column]}`);
        await page.page.keyboard.press("ArrowRight");
      }
      return;
    }
    equal([...shown.values()].filter((text) => text !== "" && text !== "–").length, stored.length, "number of links");
    for (const link of stored) equal(number(shown.get(`${link.sender} ${link.receiver}`)), link.n, `${link.sender} to ${link.receiver}`);
    await go("matrix?show=redundancy");
    shown = await cells();
    for (const link of stored) {
      const useful = link.n - (wasted.get(`${link.sender} ${link.receiver}`) ?? 0);
      const text = shown.get(`${link.sender} ${link.receiver}`);
      if (useful === 0) equal(text, "all waste", `${link.sender} to ${link.receiver}`);
      else equal(number(text), Number((link.n / useful).toFixed(2)), `redundancy from ${link.sender} to ${link.receiver}`);
    }
  });

  await check(`run ${run}: histogram of copies`, async () => {
    await go("copies");
    while (await page.page.locator("button:has-text('Show more of')").count()) await page.page.locator("button:has-text('Show more of')").click();
    const stored = await store.all("SELECT receiver_ip, copies, payloads FROM copies WHERE run_id = ? ORDER BY receiver_ip, copies", run);
    const shown = await page.page.evaluate(() =>
      [...document.querySelectorAll("main section")].flatMap((section) => {
        const title = section.querySelector("h2").textContent;
        const ip = /\(([^)]*)\)$/.exec(title)?.[1] ?? title;
        return [...section.querySelectorAll("tbody tr")].map((row) => [ip, ...[...row.children].slice(0, 2).map((cell) => Number(cell.textContent.replaceAll(",", "")))]);
      }),
    );
    equal(shown.sort(), stored.map((row) => [row.receiver_ip, row.copies, row.payloads]).sort(), "copies");
  });

  await check(`run ${run}: rounds`, async () => {
    await go("rounds");
    const stored = await store.all("SELECT * FROM round WHERE run_id = ? AND (standing IS NULL OR standing <> 'claimed') ORDER BY sequence DESC, round DESC, chain_id DESC LIMIT 100", run);
    const shown = await page.table("Rounds, the latest first");
    equal(shown.length, stored.length, "number of rounds");
    stored.forEach((row, index) => {
      const here = shown[index];
      const what = `round ${row.round} of ${row.sequence}`;
      equal([number(here.sequence), number(here.round), here.outcome, number(here.messages)], [row.sequence, row.round, row.outcome, row.messages], what);
      sameSpan(here["prepared after"], since(row.preprepare_ns, row.prepared_ns), `${what}, prepared`);
      sameSpan(here["committed after"], since(row.preprepare_ns, row.committed_ns), `${what}, committed`);
      sameSpan(here["block time"], row.block_time_ns, `${what}, block time`);
    });
    await go("rounds?above_zero=1");
    const above = (await store.one("SELECT COUNT(*) n FROM round WHERE run_id = ? AND round > 0 AND (standing IS NULL OR standing <> 'claimed')", run)).n;
    equal(((await page.table("Rounds, the latest first")) ?? []).length, Math.min(above, 100), "rounds above 0");
  });

  await check(`run ${run}: events`, async () => {
    await go("events");
    const stored = await store.all("SELECT * FROM event WHERE run_id = ? ORDER BY event_number DESC LIMIT 100", run);
    const shown = (await page.table("Events, the latest first")) ?? [];
    equal(
      shown.map((row) => [number(row.number), row.rule, row.severity.split(" ")[1], row.severity.endsWith(" no honest node"), row.height.startsWith("–") ? null : number(row.height), row.what]),
      stored.map((row) => [row.event_number, row.rule.replaceAll("_", " "), row.severity, Boolean(row.suspicious), row.sequence, row.detail.replace(/0x[0-9a-f]{20,}/g, (hash) => `${hash.slice(0, 8)}…${hash.slice(-4)}`).replace(/\s+/g, " ").trim()]),
      "events",
    );
    for (const event of stored.slice(0, 2)) {
      await go(`event/${event.event_number}`);
      const names = Object.keys(JSON.parse(event.numbers ?? "{}")).map((name) => name.replace(/_ns$/, "").replaceAll("_", " "));
      equal(((await page.table("Numbers")) ?? []).map((row) => row.name).sort(), names.sort(), `numbers of event ${event.event_number}`);
      const payloads = JSON.parse(event.payloads ?? "[]");
      equal(await page.page.locator("main li code").allTextContents(), payloads, `payloads of event ${event.event_number}`);
    }
  });

  await check(`run ${run}: traffic, each height`, async () => {
    const ends = await store.one("SELECT MIN(sequence) first, MAX(sequence) last FROM round WHERE run_id = ? AND (standing IS NULL OR standing <> 'claimed')", run);
    const from = Math.max(ends.first, ends.last - 99);
    await go(`traffic?from=${from}&to=${ends.last}`);
    await page.page.locator("button:has-text('Show as table')").first().click();
    const shown = await page.table("Messages by kind, per sequence");
    const stored = await store.all(
      `SELECT sequence, ${["preprepare", "prepare", "commit", "roundchange"].map((kind) => `SUM(CASE WHEN kind = '${kind}' THEN message_count.messages ELSE 0 END) AS "${kind}"`).join(", ")},
       SUM(useful) useful FROM message_count JOIN round USING (run_id, sequence, round, chain_id)
       WHERE run_id = ? AND (standing IS NULL OR standing <> 'claimed') AND sequence BETWEEN ? AND ? GROUP BY sequence ORDER BY sequence`,
      run,
      from,
      ends.last,
    );
    equal(
      shown.map((row) => [row.sequence, row.preprepare, row.prepare, row.commit, row.roundchange, row.useful].map(number)),
      stored.map((row) => [row.sequence, row.preprepare, row.prepare, row.commit, row.roundchange, row.useful]),
      "messages per sequence",
    );
  });

  await check(`run ${run}: sequence ${sequence}`, async () => {
    await go(`sequence/${sequence}`);
    if (await page.page.locator("input[name=claimed]").count()) await page.page.locator("input[name=claimed]").check();
    const counts = await page.table("Messages by round, receiver and kind");
    const stored = await store.all("SELECT * FROM message_count WHERE run_id = ? AND sequence = ? AND chain_id = 0", run, sequence);
    const key = (row) => row.join(" ");
    equal(
      counts.map((row) => key([row.round, row.receiver, row.kind, number(row.messages), number(row.useful), number(row.repeats), number(row.echoes)])).sort(),
      stored.map((row) => key([row.round, row.receiver, row.kind, row.messages, row.useful, row.repeats, row.echoes])).sort(),
      "counts",
    );
    const votes = await store.all("SELECT state, COUNT(*) n FROM vote WHERE run_id = ? AND sequence = ? AND chain_id = 0 GROUP BY state ORDER BY state", run, sequence);
    const states = await page.page.locator("table.truth .vote a").allTextContents();
    const tally = new Map();
    for (const text of states) {
      const state = text.replace(/^\S+ /, "").trim().replaceAll(" ", "_");
      tally.set(state, (tally.get(state) ?? 0) + 1);
    }
    equal([...tally].sort(), votes.map((row) => [row.state, row.n]).sort(), "states of votes");
    for (const node of await store.all("SELECT * FROM node_round WHERE run_id = ? AND sequence = ? AND chain_id = 0 AND round = 0", run, sequence)) {
      const first = (await store.one("SELECT MIN(preprepare_ns) t FROM node_round WHERE run_id = ? AND sequence = ? AND chain_id = 0 AND round = 0", run, sequence)).t;
      const row = (await page.table("Round 0 as each node lived it")).find((one) => one.node === node.node);
      holds(row, `${node.node} is not shown`);
      sameSpan(row.prepared, since(first, node.prepared_ns), `${node.node} prepared`);
      sameSpan(row.committed, since(first, node.committed_ns), `${node.node} committed`);
    }
  });

  await check(`run ${run}: messages of sequence ${sequence}`, async () => {
    await go(`messages/${sequence}`);
    const stored = await store.one("SELECT COUNT(*) n, SUM(copies) copies FROM delivery WHERE run_id = ? AND sequence = ? AND chain_id = 0", run, sequence);
    const shown = await page.table("Deliveries, the earliest first");
    equal(shown.length, Math.min(stored.n, 1000), "number of deliveries");
    if (stored.n <= 1000) equal(shown.reduce((sum, row) => sum + number(row.copies), 0), stored.copies, "copies");
  });

  await check(`run ${run}: links, peers, sessions`, async () => {
    await go("links");
    const links = await page.table("Links, those with most bytes first");
    const stored = await store.one("SELECT COUNT(*) n, SUM(segments) segments, SUM(retransmissions) again FROM tcp_link WHERE run_id = ?", run);
    equal([links.length, links.reduce((sum, row) => sum + number(row.segments), 0), links.reduce((sum, row) => sum + number(row["sent again"]), 0)], [stored.n, stored.segments, stored.again], "links");
    await go("peers");
    const peers = await page.table("Peers, and what they said");
    const of = await store.one("SELECT COUNT(*) n, SUM(dials_out) o, SUM(sessions) s FROM peer WHERE run_id = ?", run);
    equal([peers.length, peers.reduce((sum, row) => sum + number(row.dialled), 0), peers.reduce((sum, row) => sum + number(row.sessions), 0)], [of.n, of.o, of.s], "peers");
    await go("health");
    const states = await page.table("Sessions by state");
    equal(
      states.map((row) => [row.state.replaceAll(" ", "_"), number(row.sessions)]).sort(),
      (await store.all("SELECT state, COUNT(*) n FROM session WHERE run_id = ? GROUP BY state", run)).map((row) => [row.state, row.n]).sort(),
      "sessions by state",
    );
  });
}
