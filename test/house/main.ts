/** Imports that go where they must not: `make lint` runs it beside biome, which finds the circles. */
import { resolve } from 'node:path';
import { importBreaches } from './import-rules.ts';

const breaches = importBreaches(resolve(process.argv[2] ?? '.'));
for (const { path, line, target, words } of breaches)
  console.error(`${path}:${line} imports ${target}: ${words}`);
if (breaches.length > 0) process.exitCode = 1;
