import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isNamed } from './application-pattern.ts';

const NODE = 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa';
const BILLING = `hybrid://billing@${NODE}?hybridization=xoring&key_sources=QKD`;

const NAMED: [pattern: string, uri: string][] = [
  ['*', BILLING],
  ['*', ''],
  ['billing', BILLING],
  ['bill*', BILLING],
  ['hybrid://billing@*', BILLING],
  ['hybrid://bill*', BILLING],
  [`hybrid://billing@${NODE}`, BILLING],
  [`HYBRID://billing@${NODE.toUpperCase()}`, BILLING],
  [`hybrid://billing@${NODE.toUpperCase().slice(0, 5)}*`, BILLING],
  [`hybrid://billing@${NODE}`, `hybrid://billing@${NODE}/`],
  ['client://localhost', 'client://localhost'],
  ['client://LOCALHOST/a', 'Client://localhost/a?b#c'],
  ['client://*', 'client://localhost:5000/a'],
  ['localhost', 'client://LOCALHOST:5000/a'],
  ['user', 'client://user@host'],
  ['billing', 'billing'],
];

const NOT_NAMED: [pattern: string, uri: string][] = [
  ['billing', `hybrid://billing2@${NODE}`],
  ['billing', `hybrid://Billing@${NODE}`],
  ['billing', `hybrid://x@${NODE}?billing`],
  ['bill*', `hybrid://x-bill@${NODE}`],
  ['hybrid://billing@*', `hybrid://billing2@${NODE}`],
  ['hybrid://billing@*', `client://billing@${NODE}`],
  [`hybrid://billing@${NODE}`, `hybrid://Billing@${NODE}`],
  [`hybrid://billing@${NODE}`, `hybrid://billing@${NODE.replace('a', 'b')}`],
  ['client://localhost/a', 'client://localhost/A'],
  ['client://localhost', 'client://localhost:5000'],
  ['localhost', 'client://user@localhost'],
  ['billing', ''],
];

describe('what names an application', () => {
  for (const [pattern, uri] of NAMED)
    it(`${pattern} names ${uri || 'nothing at all'}`, () => assert.ok(isNamed(pattern, uri)));
  for (const [pattern, uri] of NOT_NAMED)
    it(`${pattern} does not name ${uri || 'nothing at all'}`, () => assert.ok(!isNamed(pattern, uri)));
});
