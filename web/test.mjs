// What a person reads must be what was stored: times with all their digits, units, lower bounds, addresses.
import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

globalThis.document = { getElementById: () => null };
const here = dirname(fileURLToPath(import.meta.url));
async function load(name) {
  const built = await esbuild.build({ entryPoints: [join(here, "src", name)], bundle: true, format: "esm", write: false });
  return import(`data:text/javascript,${encodeURIComponent(built.outputFiles[0].text)}`);
}
const { parse, path } = await load("data.ts");
const raw = await load("format.ts");
// Between a number and its unit no line ends; tests are easier to read with a space.
const format = Object.fromEntries(Object.entries(raw).map(([name, value]) => [name, typeof value === "function" ? (...given) => (typeof value(...given) === "string" ? value(...given).replaceAll("\u00a0", " ") : value(...given)) : value]));
const { readRoute, writeRoute } = await load("route.ts");

test("long times keep all their digits, short spans are numbers", () => {
  const read = parse('{"a_ns":1795000004309060861,"b_ns": 1795000004309060862 ,"p50_ns":12345,"n":1795000004309060861,"list":[{"t_ns":1795000004309060861}],"c_ns":null}');
  assert.equal(read.a_ns, "1795000004309060861");
  assert.equal(format.since(read.a_ns, read.b_ns), 1);
  assert.equal(read.p50_ns, 12345);
  assert.equal(typeof read.n, "number");
  assert.equal(read.list[0].t_ns, "1795000004309060861");
  assert.equal(read.c_ns, null);
});

test("what looks like a time inside of a text stays as it is", () => {
  for (const text of ['"a_ns":1795000004309060861,', '\\"a_ns":1795000004309060861}', '"a_ns":1795000004309060861', 'x"a_ns": 1795000004309060861 }']) {
    const json = JSON.stringify({ detail: text, [text]: 1 });
    assert.deepEqual(parse(json), JSON.parse(json), json);
  }
});

test("spans have the unit that fits", () => {
  const { duration } = format;
  assert.deepEqual([0, 1, 999, 1000, 33_100, 999_499, 999_500, 1_112_503, 1_001_910_394, 43_200_000_000, 119e9, 121e9, 7201e9, 200_000e9].map((value) => duration(value)), [
    "0 s", "1 ns", "999 ns", "1.00 µs", "33.1 µs", "999 µs", "1.00 ms", "1.11 ms", "1.00 s", "43.2 s", "119 s", "2.02 min", "2.00 h", "2.31 days",
  ]);
  assert.equal(duration(null), "–");
  assert.equal(duration(-2_500_000), "-2.50 ms");
});

test("bytes, factors, shares", () => {
  assert.deepEqual([0, 999, 1000, 6_067_488].map((value) => format.bytes(value)), ["0 B", "999 B", "1.00 kB", "6.07 MB"]);
  assert.equal(format.factor(18701, 3612), "5.18 ×");
  assert.equal(format.factor(3, 0), "–");
  assert.deepEqual([[0, 10], [1, 1000], [999, 1000], [10, 10], [1, 0]].map(([part, whole]) => format.percent(part, whole)), ["0 %", "< 1 %", "> 99 %", "100 %", "–"]);
  assert.equal(format.atLeast("12", 1), "≥ 12");
  assert.equal(format.atLeast("–", 1), "–");
  assert.equal(format.signed("3", 3), "+3");
  assert.equal(format.signed("-3", -3), "−3");
});

test("a part of a capture is told in words, with all digits of its times", () => {
  const part = (given) => JSON.stringify({ from_ns: null, to_ns: null, first_sequence: null, last_sequence: null, ports: [], ...given });
  assert.equal(format.selected(part({ first_sequence: 10, last_sequence: 1200, ports: [30303] })), "heights 10 to 1,200, port 30303");
  assert.equal(format.selected(part({ first_sequence: 10, last_sequence: 10 })), "height 10");
  assert.equal(format.selected(part({ last_sequence: 10, ports: [1, 2] })), "heights to 10, ports 1, 2");
  assert.equal(format.selected(part({}).replace('"from_ns":null', '"from_ns":1795000004309060861')), "from 2026-11-18 11:06:44.309 UTC");
  for (const text of ["heights 1..10", "{", "null", "[1]", '"x"']) assert.equal(format.selected(text), text);
});

test("times are UTC", () => {
  assert.equal(format.time("1795000004309060861"), "2026-11-18 11:06:44.309 UTC");
  assert.equal(format.minute("1795000004309060861"), "2026-11-18 11:06 UTC");
  assert.equal(format.time("9223372036854775807"), "2262-04-11 23:47:16.854 UTC");
  assert.equal(format.time(null), "–");
  assert.equal(format.earliest(["1795000004309060862", null, "1795000004309060861"]), "1795000004309060861");
});

test("addresses of views go there and back, whatever a node is called", () => {
  for (const label of ["cn1", "a/b", "?x=1&y#z", "%", "ä \u202e", ".."]) {
    const route = readRoute(writeRoute(3, "node", [label], { chain: 0, node: label }));
    assert.deepEqual([route.run, route.view, route.parts, route.query.get("node"), route.query.get("chain")], ["3", "node", [label], label, "0"]);
  }
  assert.equal(readRoute("").view, "overview");
  assert.equal(readRoute("#/run/latest").view, "overview");
  assert.equal(readRoute("#/run/1;drop/rounds").run, "latest");
  // What there cannot be is named, and nothing else shown in its place.
  assert.deepEqual(["", "#/", "#/run/latest", "#/run/7/rounds", "#/foo", "#/run/nope/overview", "#/run/1;drop/rounds"].map((hash) => readRoute(hash).unknown), [null, null, null, null, "page “foo”", "run “nope”", "run “1;drop”"]);
  assert.equal(readRoute("#/run/3/node/%E0%A4%A").parts[0], "%E0%A4%A");
});

test("a first state has the canonical path", () => {
  assert.equal(path("/api/v1/runs/3/rounds", { from: null, chain: "", above_zero: false }), "/api/v1/runs/3/rounds");
  assert.equal(path("/api/v1/runs/3/sequences/5", { chain: 0 }), "/api/v1/runs/3/sequences/5?chain=0");
});
