// Validates every dashboard against the types that Grafana publishes for its dashboards and panels, of the oldest and the newest
// version that we support. They say nothing about queries: those are run by ../queries.py.
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import Ajv from 'ajv';
import { createGenerator } from 'ts-json-schema-generator';

const here = dirname(fileURLToPath(import.meta.url));
const dashboards = join(here, '..', '..', 'dashboards');
const versions = ['11', '13'];

/** The file of a type, which lies elsewhere from version to version. */
function typesOf(version, folder, file) {
  const dist = join(here, 'node_modules', `grafana-schema-${version}`, 'dist');
  const places = [join(dist, 'types', 'raw', folder, 'types.gen.d.ts'), join(dist, 'esm', 'raw', folder, file)];
  const found = places.find((place) => existsSync(place));
  if (!found) throw new Error(`@grafana/schema ${version} has no ${folder}`);
  return found;
}

/** What a type of Grafana's allows, as a function. */
function validator(version, path, type, scratch) {
  const dist = join(here, 'node_modules', `grafana-schema-${version}`, 'dist');
  const index = ['types/index.d.ts', 'esm/index.d.ts'].map((place) => join(dist, place)).find((place) => existsSync(place));
  const tsconfig = join(scratch, `tsconfig-${version}.json`);
  const options = { target: 'es2022', module: 'esnext', moduleResolution: 'bundler', skipLibCheck: true, types: [],
    paths: { '@grafana/schema': [index] } };
  writeFileSync(tsconfig, JSON.stringify({ compilerOptions: options, files: [path] }));
  // Closed: a misspelt setting is none that Grafana would ever look at.
  const schema = createGenerator({ path, type, tsconfig, skipTypeCheck: true, additionalProperties: false }).createSchema(type);
  return new Ajv({ allErrors: true, strict: false }).compile(schema);
}

/** The dashboard without the queries of its annotations: Grafana's types know only those of its own data source. */
function withoutQueries(dashboard) {
  const copy = structuredClone(dashboard);
  for (const { target } of copy.annotations.list) {
    for (const key of ['refId', 'format', 'rawQuery', 'editorMode', 'rawSql']) delete target[key];
  }
  return copy;
}

/** The panel's own settings of fields: for all fields, and for each that has some of its own. */
function* fieldSettings({ defaults, overrides }) {
  const all = defaults.custom ?? {};
  yield ['all fields', all];
  for (const { matcher, properties } of overrides) {
    const own = properties.filter(({ id }) => id.startsWith('custom.')).map(({ id, value }) => [id.slice('custom.'.length), value]);
    yield [matcher.options, { ...all, ...Object.fromEntries(own) }];
  }
}

const panelTypes = new Map();
function panelValidators(version, kind, scratch) {
  const key = `${version} ${kind}`;
  if (!panelTypes.has(key)) {
    const name = { timeseries: 'TimeSeries', barchart: 'BarChart' }[kind] ?? kind[0].toUpperCase() + kind.slice(1);
    const path = typesOf(version, `composable/${kind}/panelcfg/x`, `${name}PanelCfg_types.gen.d.ts`);
    const text = readFileSync(path, 'utf8');
    panelTypes.set(key, {
      options: validator(version, path, 'Options', scratch),
      custom: /\b(interface|type) FieldConfig\b/.test(text) ? validator(version, path, 'FieldConfig', scratch) : undefined,
    });
  }
  return panelTypes.get(key);
}

const scratch = mkdtempSync(join(tmpdir(), 'bftap-shape-'));
let wrong = 0;
let validated = 0;
function report(where, check, value) {
  validated += 1;
  if (check(value)) return;
  for (const error of check.errors) {
    wrong += 1;
    console.error(`${where}${error.instancePath}: ${error.message} ${JSON.stringify(error.params)}`);
  }
}

try {
  for (const version of versions) {
    const dashboard = validator(version, typesOf(version, 'dashboard/x', 'dashboard_types.gen.d.ts'), 'Dashboard', scratch);
    for (const database of readdirSync(dashboards).sort()) {
      for (const file of readdirSync(join(dashboards, database)).sort()) {
        const json = JSON.parse(readFileSync(join(dashboards, database, file), 'utf8'));
        const where = `Grafana ${version}, ${database}/${file}`;
        report(where, dashboard, withoutQueries(json));
        for (const panel of json.panels.filter((panel) => panel.type !== 'row')) {
          const { options, custom } = panelValidators(version, panel.type, scratch);
          report(`${where}, ${panel.title}, options`, options, panel.options);
          for (const [field, settings] of fieldSettings(panel.fieldConfig)) {
            if (custom) report(`${where}, ${panel.title}, ${field}`, custom, settings);
          }
        }
      }
    }
  }
} finally {
  rmSync(scratch, { recursive: true });
}
if (wrong) {
  console.error(`${wrong} things are not as Grafana's types say`);
  process.exit(1);
}
console.log(`${validated} dashboards, options and field settings are as the types of Grafana ${versions.join(' and ')} say`);
