// Bundles the page into crates/web/assets, which is committed: cargo alone builds the product.
//
//   node build.mjs           writes the assets
//   node build.mjs --check   says whether the assets are what the sources give; writes nothing
import { readFile, writeFile, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const assets = join(here, "../crates/web/assets");

/** The licences of what is bundled, as its packages say them: they ask to stand in every copy. */
async function licences() {
  let text = "";
  for (const name of ["preact", "uplot"]) {
    const folder = join(here, "node_modules", name);
    const { version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    text += `${name} ${version} (${license})\n\n${(await readFile(join(folder, "LICENSE"), "utf8")).trim()}\n\n`;
  }
  return text.replaceAll("*/", "* /").trim();
}

const bundled = await licences();
const common = {
  bundle: true,
  minify: true,
  write: false,
  charset: "utf8",
  target: ["es2022", "chrome109", "firefox115", "safari16"],
  legalComments: "none",
  absWorkingDir: here,
};
const built = await Promise.all([
  esbuild.build({
    ...common,
    entryPoints: ["src/main.tsx"],
    format: "iife",
    jsx: "automatic",
    jsxImportSource: "preact",
    banner: { js: `/*! The page of bftap (Apache-2.0 OR MIT), made from web/ by npm run build. Bundled with it:\n\n${bundled}\n*/` },
  }),
  esbuild.build({ ...common, entryPoints: ["src/app.css"], external: [] }),
]);
const files = new Map([
  ["app.js", built[0].outputFiles[0].text],
  ["app.css", built[1].outputFiles[0].text],
  ["index.html", await readFile(join(here, "src/index.html"), "utf8")],
]);

let stale = 0;
await mkdir(assets, { recursive: true });
for (const [name, text] of files) {
  const path = join(assets, name);
  if (process.argv.includes("--check")) {
    if ((await readFile(path, "utf8").catch(() => null)) !== text) {
      console.error(`crates/web/assets/${name} is not what web/ gives: run npm run build in web/`);
      stale = 1;
    }
  } else {
    await writeFile(path, text);
    console.log(`${name}  ${Math.round(Buffer.byteLength(text) / 1024)} kB`);
  }
}
process.exit(stale);
