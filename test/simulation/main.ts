/**
 * Runs simulated worlds from one seed after the other until the time is over
 * or something is wrong (`make simulate`, test/simulation/README.md).
 */
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { shrink } from './shrink.ts';
import { type Plan, planOf, type Run, simulate } from './simulate.ts';

interface Options {
  readonly seconds: string;
  readonly seed?: string;
  readonly runs?: string;
  readonly plan?: string;
  readonly shrink: boolean;
}

const options = new Command('simulate')
  .description('two or three gateways in a simulated world, with faults, judged')
  .option('--seconds <n>', 'how long to go on', '60')
  .option('--seed <n>', 'the first seed; by default another one each time')
  .option('--runs <n>', 'so many seeds, however long they take')
  .option('--plan <file>', 'run one plan, as a failing run has printed it')
  .option('--no-shrink', 'do not look for a smaller plan that fails')
  .parse()
  .opts<Options>();

if (options.plan !== undefined) {
  const run = await simulate(JSON.parse(readFileSync(options.plan, 'utf8')) as Plan);
  report(run);
  process.exitCode = run.violations.length === 0 ? 0 : 1;
} else {
  const first = options.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(options.seed);
  const runs = options.runs === undefined ? Number.POSITIVE_INFINITY : Number(options.runs);
  process.exitCode = (await explore(first, runs, Number(options.seconds))) ? 0 : 1;
}

/** Whether every run was sound. */
async function explore(first: number, runs: number, seconds: number): Promise<boolean> {
  const began = performance.now();
  const secondsGone = () => (performance.now() - began) / 1_000;
  let minutes = 0;
  let keys = 0;
  let lacking = 0;
  let seed = first;
  for (; seed < first + runs && (Number.isFinite(runs) || secondsGone() < seconds); seed++) {
    const run = await simulate(planOf(seed));
    minutes += run.simulatedMs / 60_000;
    keys += run.keys;
    lacking += run.lacking;
    if (run.violations.length === 0) continue;
    report(run);
    if (options.shrink) {
      const smaller = await shrink(run);
      console.log(
        `\na smaller plan that fails (save it and run it with --plan):\n${JSON.stringify(smaller.plan)}`,
      );
      for (const line of smaller.violations) console.log(`  ${line}`);
    }
    return false;
  }
  const perMinute = Math.round((60 * minutes) / secondsGone());
  console.log(
    `seeds ${first} to ${seed - 1}: ${Math.round(minutes)} simulated minutes in ${Math.round(secondsGone())} s (${perMinute} a minute), ${keys} keys, ${lacking} of them without sources that failed, nothing wrong`,
  );
  return true;
}

function report({ plan, violations, digest, simulatedMs, keys }: Run): void {
  console.log(
    `seed ${plan.seed}: ${plan.nodes.length} nodes, ${plan.pairs.length} pairs of applications, ${plan.faults.length} faults, ` +
      `${Math.round(simulatedMs / 1_000)} simulated s, ${keys} keys, ${digest.slice(0, 16)}`,
  );
  for (const line of violations) console.log(`  ${line}`);
  if (violations.length > 0) console.log(`  again: make simulate ARGS="--seed ${plan.seed} --runs 1"`);
}
