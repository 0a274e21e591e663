import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { HOME } from '#common/service/installation.ts';
import { VERSION } from '#common/service/version.ts';
import { commitOf } from '../../services/cli/version/commit.ts';
import { billOfMaterials } from './bill-of-materials.ts';
import { buildClient, CLIENT_FOLDER } from './build-client.ts';

/**
 * What a release consists of, in `release/`: the package, its bill of
 * materials, the package of the client library, the native addon where it is built, and checksums of all; and
 * the container image where an engine answers.
 */
const OUT = `${HOME}release/`;
const ADDON = `${HOME}services/pqc-source/native/liboqs-node.node`;

const commit = commitOf();
if (commit === undefined || commit.endsWith('-dirty'))
  say(`not of a commit alone (${commit ?? 'no git here'}): for trial, not to be given away`);

rmSync(OUT, { recursive: true, force: true });
mkdirSync(OUT);
execFileSync('npm', ['pack', '--pack-destination', OUT], {
  cwd: HOME,
  stdio: ['ignore', 'ignore', 'inherit'],
});
buildClient();
execFileSync('npm', ['pack', '--pack-destination', OUT], {
  cwd: CLIENT_FOLDER,
  stdio: ['ignore', 'ignore', 'inherit'],
});
writeFileSync(`${OUT}keyweave-${VERSION}.cdx.json`, billOfMaterials());
if (existsSync(ADDON)) copyFileSync(ADDON, `${OUT}liboqs-node-${process.platform}-${process.arch}.node`);
else say("without the native KEM engine, which is not built on this machine ('make native')");
const sums = readdirSync(OUT)
  .sort()
  .map(
    (name) =>
      `${createHash('sha256')
        .update(readFileSync(OUT + name))
        .digest('hex')}  ${name}\n`,
  );
writeFileSync(`${OUT}SHA256SUMS`, sums.join(''));
buildImage();
process.stdout.write(`${sums.join('')}in ${OUT}\n`);

function buildImage(): void {
  try {
    execFileSync('docker', ['info'], { stdio: 'ignore' });
  } catch {
    say('without a container image: no container engine answers here');
    return;
  }
  const env = { ...process.env, KEYWEAVE_IMAGE: `keyweave:${VERSION}` };
  execFileSync(`${HOME}deploy/network`, ['images'], { env, stdio: 'inherit' });
}

function say(text: string): void {
  process.stderr.write(`release: ${text}\n`);
}
