import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { keyOf, type LocalNode, networkFor, openData, openPair } from '../helpers/network.ts';

/** Every way in which bytes could have been printed. */
function forms(key: Buffer): string[] {
  const list = [...key];
  return [
    key.toString('hex'),
    key.toString('hex').toUpperCase(),
    key.toString('base64').replace(/=+$/, ''),
    key.toString('base64url'),
    list.join(','),
    list.join(', '),
    list.map((byte) => byte.toString(16).padStart(2, '0')).join(' '),
  ];
}

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** Runs the keyweave command; gives all that it prints, and its exit code. */
async function keyweave(...given: string[]): Promise<{ printed: string; code: number | null }> {
  const main = join(ROOT, 'services', 'cli', 'main.ts');
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', main, ...given], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const printed = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { printed: printed.join(''), code: await exited };
}

describe('a file with a secret that cannot be read', () => {
  it('is named with the place of what is wrong, and nothing of it is printed', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'keyweave-broken-'));
    t.after(() => rmSync(folder, { recursive: true }));
    cpSync(join(ROOT, 'deploy', 'config', 'Alice', 'config.json'), join(folder, 'config.json'));
    const peers = join(folder, 'trusted_peers_info.json');
    writeFileSync(
      peers,
      '{\n  "bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb": {\n    "shared_seed": Pl4nted-S3ed }\n}\n',
    );
    const files = ['--config', join(folder, 'config.json'), '--peers', peers];
    for (const command of [
      ['node', ...files],
      ['service', 'gateway', ...files],
      ['check-config', folder],
      ['driver', peers],
    ]) {
      const [name = ''] = command;
      const { printed, code } = await keyweave(...command);
      assert.equal(code, 3, `${name}: ${printed}`);
      assert.match(printed, /trusted_peers_info\.json: is not JSON \(line 3, column 20\)/, name);
      assert.doesNotMatch(printed, /Pl4n|nted|S3ed|shared/, name);
    }
  });
});

describe('secrets (invariant 6)', () => {
  it('appear in no log, console or error, with every log at debug', async (t) => {
    const printed: string[] = [];
    const network = await networkFor(t, {
      names: ['Alice', 'Bob'],
      config: () => ({
        logging_config: {
          console_log_type: 'debug',
          colorless_console_log: true,
          file_log_type: 'debug',
          filename: '/dev/null',
        },
        policy: { missing_source: 'shared_seed' },
        qkd: { timeout: '300ms' },
      }),
      onLog: (_node, line) => printed.push(line),
    });
    const [alice, bob] = network.nodes as [LocalNode, LocalNode];
    const keys: Buffer[] = [];
    const messages: string[] = [];
    const ksids: string[] = [];
    for (const query of [
      'hybridization=xoring&key_sources=ML-KEM-768,QKD',
      'hybridization=hmac&key_sources=Kyber512,QKD',
      'hybridization=hkdf-sha384&key_sources=ML-KEM-1024,QKD,HQC-128',
    ]) {
      const pair = await openPair(network, openData(alice, bob, query, { timeout: 3000 }));
      ksids.push(pair.ksid);
      for (const fault of [undefined, 'wrong-key', 'drop', 'hang', undefined] as const) {
        network.kme.setFault(1, fault, 2);
        for (let i = 0; i < 6; i++) {
          const answers = await Promise.all([pair.a.getKey(pair.ksid), pair.b.getKey(pair.ksid)]);
          for (const answer of answers) {
            if (answer.status === 0) keys.push(keyOf(answer));
            else messages.push(answer.message);
          }
        }
      }
      await pair.close();
    }
    const files = network.nodes.flatMap((node) =>
      readdirSync(join(node.folder, 'certs'))
        .filter((name) => name.endsWith('.key'))
        .map((name) =>
          readFileSync(join(node.folder, 'certs', name), 'utf8').replaceAll(/-----[^-]+-----|\n/g, ''),
        ),
    );
    await network.stop();
    assert.ok(keys.length > 60, `only ${keys.length} keys were fetched`);
    assert.ok(
      printed.length > 20 && printed.some((line) => line.includes('DEBUG')),
      'the debug logs are missing',
    );
    const everything = `${printed.join('\n')}\n${messages.join('\n')}`;
    for (const key of keys)
      for (const form of forms(key)) assert.ok(!everything.includes(form), 'a key was printed');
    for (const file of files)
      assert.ok(!everything.includes(file.slice(20, 60)), 'a private key was printed');
    assert.ok(!everything.includes('123456789'), 'a shared_seed was printed');
    for (const ksid of ksids) {
      assert.ok(everything.includes(ksid.slice(0, 8)), 'no line names the stream');
      assert.ok(!everything.includes(ksid), 'a KSID, which is a bearer token, was printed');
    }
  });
});
