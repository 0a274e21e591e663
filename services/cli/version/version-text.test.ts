import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { HOME } from '#common/service/installation.ts';
import { PROTOCOL_VERSION, VERSION } from '#common/service/version.ts';
import { versionText } from './version-text.ts';

describe('keyweave --version', () => {
  it('says version, commit and agreement', () => {
    const text = execFileSync(`${HOME}bin/keyweave`, ['--version'], { encoding: 'utf8' });
    assert.match(
      text,
      /^\d+\.\d+\.\d+ \(commit ([0-9a-f]{12}(-dirty)?|unknown), agreement \d+, Node \d+\.\d+\.\d+\)\n$/,
    );
    assert.ok(text.startsWith(`${VERSION} (`));
    assert.ok(text.includes(`agreement ${PROTOCOL_VERSION},`));
  });

  it('takes the commit that an image was built from', () => {
    const env = { ...process.env, KEYWEAVE_COMMIT: 'ab'.repeat(20) };
    const text = execFileSync(`${HOME}bin/keyweave`, ['--version'], { encoding: 'utf8', env });
    assert.match(text, /\(commit abababababab,/);
  });

  it('shortens a commit, keeps the mark of a changed checkout, and says where none is known', () => {
    assert.match(versionText(`${'0123456789abcdef'.repeat(2)}01234567-dirty`), /commit 0123456789ab-dirty,/);
    assert.match(versionText(undefined), /commit [0-9a-f]{12}|commit unknown/);
  });
});
