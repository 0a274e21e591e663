import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type CommandOutcome, runCommand } from '#test/helpers/command.ts';
import { type NodeFolder, nodeFolder } from '#test/helpers/node-folder.ts';

/** Root may write everywhere: who tests as root asks as somebody else, nobody by custom. */
const SOMEBODY = process.getuid?.() === 0 ? { uid: 65_534 } : {};

let node: NodeFolder;
let file: string;

before(async () => {
  node = await nodeFolder();
  chmodSync(node.folder, 0o755);
  file = join(node.folder, 'file');
  writeFileSync(file, '');
});
after(() => node.remove());

function assertWords({ code, stdout, stderr }: CommandOutcome, status: number, words: RegExp): void {
  assert.equal(code, status, stderr);
  assert.match(stderr, words);
  assert.doesNotMatch(stderr, /\n\s+at /, 'a stack trace');
  assert.equal(stdout, '');
}

const configWith = (
  change: (files: Record<string, string>) => Record<string, string>,
  more: object = {},
) => ({
  ...node.config,
  ...more,
  certificate_config: {
    ...(node.config.certificate_config as object),
    ...change(node.config.certificate_config as Record<string, string>),
  },
});

describe('a relative path from another working directory', () => {
  it('is told with that directory, in which nothing is left', async () => {
    const cwd = join(node.folder, 'elsewhere');
    mkdirSync(cwd);
    const config = configWith(
      () => ({ cert_authority_path: 'ca/ca.crt', cert_path: 'c/n.crt', key_path: 'c/n.key' }),
      {
        logging_config: { console_log_type: 'none', file_log_type: 'debug', filename: 'logs/hybrid.log' },
      },
    );
    const files = node.write('relative', { config });
    for (const start of [['node'], ['service', 'gateway'], ['check-config']]) {
      const outcome = await runCommand([...start, ...files], { cwd });
      assertWords(outcome, 3, /cert_authority_path: ca\/ca\.crt: there is no such file/);
      assert.ok(outcome.stderr.includes(`relative paths count from ${cwd}`), outcome.stderr);
      assert.deepEqual(readdirSync(cwd), []);
    }
    // From where they are meant, the same files are right.
    assert.equal((await runCommand(['check-config', ...files], { cwd: node.folder })).code, 0);
  });
});

describe('a folder in which nothing can be written', () => {
  it('is told before anything is made, for certificates and for the log', async () => {
    const locked = join(node.folder, 'locked');
    mkdirSync(locked, { mode: 0o555 });
    chmodSync(join(node.folder, 'ca', 'ca.key'), 0o644);
    const config = configWith(
      () => ({ cert_path: join(locked, 'certs', 'node.crt'), key_path: join(locked, 'certs', 'node.key') }),
      { logging_config: { file_log_type: 'info', filename: join(locked, 'hybrid.log') } },
    );
    const files = node.write('locked-config', { config });
    for (const start of [['node'], ['service', 'gateway'], ['check-config']]) {
      const outcome = await runCommand([...start, ...files], SOMEBODY);
      assertWords(
        outcome,
        3,
        /cert_path: gateway[a-z, -]*: nothing can be written in .*locked: this user may not do that \(EACCES\)/,
      );
      assert.match(outcome.stderr, /filename: nothing can be written in /);
      assert.deepEqual(readdirSync(locked), []);
    }
  });

  it('is told by the commands that make certificates and by the demo', async () => {
    for (const args of [['certs', 'ca', '--out', join(file, 'ca')], ['demo']]) {
      const outcome = await runCommand(args, { env: { TMPDIR: join(file, 'tmp') } });
      const stderr = outcome.stderr.replace(/^demo: .*\n/gm, '');
      assertWords({ ...outcome, stderr }, 4, /^keyweave: \/\S+: .* \((ENOTDIR|EEXIST)\)\n$/);
    }
  });

  it('leaves no piece of a certificate, nor its key', async () => {
    const certs = join(node.folder, 'half');
    mkdirSync(join(certs, 'gateway.crt'), { recursive: true });
    const config = configWith(() => ({
      cert_path: join(certs, 'node.crt'),
      key_path: join(certs, 'node.key'),
    }));
    const [, path = ''] = node.write('half-config', { config });
    const outcome = await runCommand(['certs', 'issue', '--config', path, '--service', 'gateway']);
    assertWords(outcome, 4, /gateway\.crt/);
    assert.deepEqual(readdirSync(certs), ['gateway.crt']);
  });

  it('is not taken for a file that is missing, where it is one that may not be read', async () => {
    chmodSync(join(node.folder, 'ca', 'ca.key'), 0o600);
    const outcome = await runCommand(['check-config', ...node.write('unreadable')], SOMEBODY);
    if (outcome.code === 0) return assert.ok(!existsSync('/proc/self') || SOMEBODY.uid === undefined);
    assertWords(outcome, 3, /ca\.key: this user may not do that \(EACCES\)/);
  });
});
