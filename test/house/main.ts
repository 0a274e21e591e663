/** Imports that go where they must not: `make lint` runs it beside biome, which finds the circles. */
import { resolve } from 'node:path';
import { importBreaches } from './import-rules.ts';
import { compare, NOT_YET } from './not-yet.ts';

const breaches = importBreaches(resolve(process.argv[2] ?? '.'));
const named = breaches.map((breach) => ({ ...breach, name: `${breach.path} imports ${breach.target}` }));
const { wrong, mended } = compare(
  named.map(({ name }) => name),
  NOT_YET.imports,
);
for (const { path, line, target, words, name } of named)
  if (wrong.includes(name)) console.error(`${path}:${line} imports ${target}: ${words}`);
for (const name of mended) console.error(`test/house/not-yet.json lists what is mended: ${name}`);
if (wrong.length + mended.length > 0) process.exitCode = 1;
