import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { runCommand, startCommand } from '#test/helpers/command.ts';
import { type NodeFolder, nodeFolder } from '#test/helpers/node-folder.ts';
import { rightFiles, type WrongFile, wrongFiles } from '#test/helpers/wrong-files.ts';

/** Fewer would be less than an operator has tried. */
const LEAST = 55;

const BAD_FILES = 3;

let node: NodeFolder;
let wrong: readonly WrongFile[];

before(async () => {
  node = await nodeFolder();
  wrong = wrongFiles(node);
});
after(() => node.remove());

const folderOf = (i: number) => `wrong-${i}`;

/** Checks what was told of a wrong file: all of it is of that file, and names the key and its line. */
function assertTold(one: WrongFile, files: readonly string[], stderr: string): void {
  const file = files[one.file === 'config' ? 1 : 3] as string;
  const told = `${one.what}: ${stderr}`;
  const lines = stderr.trimEnd().split('\n');
  assert.ok(
    lines.every((line) => line.startsWith(`${file}: `)),
    told,
  );
  const line = lines.find((text) => text.startsWith(`${file}: ${one.path}`)) ?? assert.fail(told);
  assert.match(line, one.words, told);
  if (one.path.startsWith('is not JSON')) return;
  const number = Number(/ \(line (\d+)\)$/.exec(line)?.[1]);
  const text = readFileSync(file, 'utf8');
  const at = text.split('\n')[number - 1] ?? assert.fail(told);
  if (/\.\d+$/.test(one.path)) {
    // An entry of a list.
    assert.match(at, /^\s+"[^"]*",?$/, told);
    return;
  }
  // Of what is not in the file, the line of what it should be in.
  const key = one.path
    .split('.')
    .filter((name) => text.includes(`"${name}"`))
    .at(-1);
  assert.ok(key === undefined || at.includes(`"${key}"`), `${told}, where line ${number} is ${at}`);
}

async function inTurns<T>(items: readonly T[], work: (item: T, i: number) => Promise<void>): Promise<void> {
  const queue = [...items.entries()];
  const worker = async () => {
    for (let next = queue.shift(); next; next = queue.shift()) await work(next[1], next[0]);
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
}

describe('files that are wrong', () => {
  it(`are ${LEAST} and more`, () => assert.ok(wrong.length >= LEAST, String(wrong.length)));

  it('are refused by check-config, all at once, beside those that are right', async () => {
    const sound = node.write('sound');
    const folders: string[] = [];
    const texts = new Map<WrongFile, string[]>();
    const tell = (stderr: string) => {
      for (const line of stderr.trimEnd().split('\n')) {
        const one = wrong.find((_, i) => line.includes(`/${folderOf(i)}/`)) ?? assert.fail(line);
        texts.set(one, [...(texts.get(one) ?? []), line]);
      }
    };
    for (const [i, one] of wrong.entries()) {
      const files = node.write(folderOf(i), one);
      if (one.service) tell((await runCommand(['check-config', '--service', one.service, ...files])).stderr);
      else folders.push(dirname(files[1] as string));
    }
    const outcome = await runCommand(['check-config', dirname(sound[1] as string), ...folders, ...sound]);
    assert.equal(outcome.code, BAD_FILES);
    tell(outcome.stderr);
    assert.match(outcome.stdout, /^.*sound: ok, node aaaa.* with 1 peers\n.*sound\/config\.json: ok, .*\n$/);
    for (const [i, one] of wrong.entries())
      assertTold(one, node.write(folderOf(i), one), texts.get(one)?.join('\n') ?? '(nothing)');
  });

  it('are refused by the start in the same words', async () => {
    await inTurns(wrong, async (one, i) => {
      const files = node.write(folderOf(i), one);
      const start = one.service ? ['service', one.service] : ['node'];
      const { code, stdout, stderr } = await runCommand([...start, ...files]);
      assert.equal(code, BAD_FILES, `${one.what}: ${stderr}`);
      assert.equal(stdout, '');
      assertTold(one, files, stderr.replace(/^keyweave: /, ''));
    });
  });
});

describe('files that are right, though unusual', () => {
  it('are accepted by check-config and by the start', async () => {
    await inTurns(rightFiles(node), async ([what, change], i) => {
      const files = node.write(`right-${i}`, change);
      const checked = await runCommand(['check-config', ...files]);
      assert.equal(checked.code, 0, `${what}: ${checked.stderr}`);
      assert.equal(checked.stderr, '');
      const started = startCommand([
        'service',
        'hybridizer',
        '--addresses',
        '{"hybridizer":{"host":"127.0.0.1","port":0}}',
        ...files,
      ]);
      assert.match(await started.firstLine, /"ready":true/, what);
      started.process.kill('SIGTERM');
      assert.equal((await started.outcome).code, 0, what);
    });
  });
});
