import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { mergedExposition } from '#common/telemetry/merged-exposition.ts';

const of = (service: string, value: number) => `# HELP up Whether it runs
# TYPE up gauge
up{service_name="${service}"} ${value}

# HELP ${service}_only What the others do not have
# TYPE ${service}_only counter
${service}_only 3
`;

describe('mergedExposition', () => {
  it('puts all samples of a metric together, below one HELP and TYPE', () => {
    assert.equal(
      mergedExposition([of('a', 1), of('b', 0)]),
      `# HELP up Whether it runs
# TYPE up gauge
up{service_name="a"} 1
up{service_name="b"} 0
# HELP a_only What the others do not have
# TYPE a_only counter
a_only 3
# HELP b_only What the others do not have
# TYPE b_only counter
b_only 3
`,
    );
  });

  it('takes a process that has nothing to say, or has left what is no exposition', () => {
    assert.equal(mergedExposition(['', '# no registered metrics\n', 'up 1\n']), '');
    assert.equal(mergedExposition([of('a', 1), '']), `${of('a', 1).replace('\n\n', '\n')}`);
  });
});
