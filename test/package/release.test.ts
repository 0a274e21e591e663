import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { HOME } from '#common/service/installation.ts';
import { billOfMaterials } from '../../deploy/package/bill-of-materials.ts';
import { crates, npmPackages } from '../../deploy/package/third-party.ts';

interface Bill {
  metadata: { component: { name: string } };
  components: { name: string; version: string; licenses: unknown[] }[];
}

describe('the bill of materials of a release', () => {
  it('names every package of the command and every crate, each with its licence, and no path of this machine', () => {
    const text = billOfMaterials();
    const { metadata, components } = JSON.parse(text) as Bill;
    const named = (rows: readonly { name: string; version: string }[]) =>
      rows.map(({ name, version }) => `${name}@${version}`).sort();
    const wanted = [...npmPackages('command'), ...crates()];
    assert.ok(wanted.length > 100);
    assert.ok(wanted.some(({ name }) => name === '@bufbuild/protobuf'));
    assert.deepEqual(named(components), [...new Set(named(wanted))]);
    assert.ok(components.every(({ licenses }) => licenses.length > 0));
    assert.equal(metadata.component.name, 'keyweave');
    assert.ok(!text.includes(HOME));
  });
});
