import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SERVICE_NAMES } from '#common/config/node-config.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import { parseServiceName } from './service-name.ts';

describe('the name of a service', () => {
  it('is one of those that there are', () => {
    for (const name of SERVICE_NAMES) assert.equal(parseServiceName(name, SERVICE_NAMES), name);
  });

  it('is refused where there is none of that name, with all that there are', () => {
    for (const name of ['gatewya', '', 'Gateway', 'constructor'])
      assert.throws(
        () => parseServiceName(name, ['gateway', 'tool']),
        (error) =>
          isReason(error, 'BAD_REQUEST') &&
          String(error).includes(`there is no service ${JSON.stringify(name)}; there are gateway, tool`),
      );
  });
});
