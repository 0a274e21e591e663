import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { type NodeFolder, nodeFolder } from '#test/helpers/node-folder.ts';
import { rightFiles, wrongFiles } from '#test/helpers/wrong-files.ts';

const HERE = new URL('./', import.meta.url);
const read = (path: string) =>
  JSON.parse(readFileSync(new URL(path, HERE), 'utf8')) as Record<string, unknown>;

/** As an editor would judge by the schemas. */
const judges = {
  config: z.fromJSONSchema(read('config.schema.json') as never),
  peers: z.fromJSONSchema(read('trusted_peers_info.schema.json') as never),
};

/** Faults that lie in a single value: a schema can tell them, and editors shall. */
const TOLD_BY_SCHEMA = [
  'an unknown key',
  'an unknown key inside',
  'a missing key',
  'a missing key inside',
  'a port that is a text',
  'a port out of range',
  'a section that is null',
  'a service that there is not',
  'a caller that there is not',
  'a UUID that is none',
  'a duration without a unit',
  'a duration that is a number',
  'a limit of 0',
  'no default source',
  'the host "http://kme"',
  'the host "[::1]"',
  'the host " kme"',
  'a certificate_ip with blanks',
  'a peer that is no UUID',
  'a peer without an address',
  'a peer at a host with blanks',
  'a short shared_seed',
];

let node: NodeFolder;
before(async () => {
  node = await nodeFolder();
});
after(() => node.remove());

describe('the JSON Schemas of the configuration', () => {
  it('take every shipped node, which name them', () => {
    for (const kind of ['config', 'containers']) {
      for (const name of readdirSync(new URL(`../${kind}/`, HERE))) {
        for (const [which, file] of [
          ['config', 'config'],
          ['peers', 'trusted_peers_info'],
        ] as const) {
          const path = `../${kind}/${name}/${file}.json`;
          const json = read(path);
          assert.equal(judges[which].safeParse(json).success, true, path);
          const named = new URL(String(json.$schema), new URL(path, HERE));
          assert.equal(fileURLToPath(named), fileURLToPath(new URL(`${file}.schema.json`, HERE)));
        }
      }
    }
  });

  it('take what a node takes', () => {
    for (const [what, files] of rightFiles(node)) {
      for (const which of ['config', 'peers'] as const) {
        const file = (files as Record<string, unknown>)[which] ?? node[which];
        const json = typeof file === 'string' ? JSON.parse(file.replace(/^\uFEFF/, '')) : file;
        assert.equal(judges[which].safeParse(json).error, undefined, `${what}, ${which}`);
      }
    }
  });

  it('tell what is wrong in a single value', () => {
    const wrong = new Map(wrongFiles(node).map((one) => [one.what, one]));
    for (const what of TOLD_BY_SCHEMA) {
      const one = wrong.get(what) ?? assert.fail(what);
      assert.equal(judges[one.file].safeParse(one[one.file]).success, false, what);
    }
  });

  it('say what each key means', () => {
    const properties = read('config.schema.json').properties as Record<string, { description?: string }>;
    assert.equal(properties.qkd_address?.description, 'the key manager');
  });
});
