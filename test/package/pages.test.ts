import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { HOME } from '#common/service/installation.ts';
import { PROTOCOL_VERSION, VERSION } from '#common/service/version.ts';
import { run } from '../containers/command.ts';

const PAGES = [
  'README.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  'CHANGELOG.md',
  'services/client/README.md',
  'test/bench/README.md',
  'test/containers/README.md',
  'test/fuzz/README.md',
  'test/kubernetes/README.md',
  'test/simulation/README.md',
  ...readdirSync(`${HOME}docs`)
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];

const read = (path: string) => readFileSync(`${HOME}${path}`, 'utf8');

/** All first groups of `pattern` in a page. */
const named = (page: string, pattern: RegExp) => [...page.matchAll(pattern)].map(([, name = '']) => name);

describe('what the pages name', () => {
  for (const path of PAGES) {
    it(`is there: links, make targets and files of ${path}`, () => {
      const page = read(path);
      for (const link of named(page, /\]\(((?!https?:)[^)#]+)/g))
        assert.ok(existsSync(join(HOME, dirname(path), link)), `${path} links ${link}`);
      const targets = new Set(named(read('Makefile'), /^([a-z0-9-]+):/gm));
      for (const target of named(page, /(?:`|^)make ([a-z][a-z-]*)/gm))
        assert.ok(targets.has(target), `${path} names make ${target}`);
      // What lies in certs/out the commands of the pages make.
      for (const file of named(page, /`((?:services|certs(?!\/out\/)|deploy|proto|test|docs)\/[\w./-]*\w)`/g))
        assert.ok(existsSync(join(HOME, file)), `${path} names ${file}`);
    });
  }

  it('are commands that there are', async () => {
    const help = await run(`${HOME}bin/keyweave`, ['--help']);
    const commands = new Set(named(help, /^ {2}([a-z-]+)/gm));
    for (const path of PAGES)
      for (const command of named(read(path), /(?:`|^|npx |bin\/)keyweave ([a-z][a-z-]+)/gm))
        assert.ok(commands.has(command), `${path} names keyweave ${command}`);
  });
});

describe('a release', () => {
  it('has its section in the changelog, and its line in the table of who talks with whom', () => {
    assert.match(
      read('CHANGELOG.md'),
      new RegExp(`^## \\[${VERSION.replaceAll('.', '\\.')}\\] - \\d{4}-`, 'm'),
    );
    assert.ok(read('docs/upgrading.md').includes(`| ${VERSION} | ${PROTOCOL_VERSION} |`));
    assert.ok(read('README.md').includes(`keyweave-${VERSION}.tgz`));
  });

  it('names in the README the Node that package.json asks for', () => {
    const { engines } = JSON.parse(read('package.json')) as { engines: { node: string } };
    const [, line, newer] = /^\^(\d+\.\d+)\.0 \|\| >=(\d+\.\d+)\.0$/.exec(engines.node) ?? [];
    assert.ok(line && newer, engines.node);
    const sentence = `${line} or newer of its line, or ${newer} or newer`;
    assert.ok(read('README.md').replaceAll('\n', ' ').includes(sentence));
    assert.ok(read('bin/keyweave').includes(sentence));
  });
});

describe('the end of make test', () => {
  it('tells what is left to other targets', async () => {
    const recipe = await run('make', ['--dry-run', '--always-make', 'test'], { cwd: HOME });
    const told = recipe.slice(recipe.lastIndexOf('left to other targets'));
    for (const target of [
      'test-containers',
      'test-kubernetes',
      'native-test',
      'test-telemetry',
      'engines',
      'mutants',
      'bench',
    ])
      assert.ok(told.includes(target));
  });
});
