import { type Plan, type Run, simulate } from './simulate.ts';

/**
 * A smaller plan that still fails: faults, then pairs of applications, are left
 * out as long as something is still wrong, halves first.
 *
 * @param tries runs at most.
 */
export async function shrink(failing: Run, tries = 200): Promise<Run> {
  let smallest = failing;
  let left = tries;
  const holds = async (plan: Plan): Promise<boolean> => {
    if (left-- <= 0) return false;
    const run = await simulate(plan);
    if (run.violations.length === 0) return false;
    smallest = run;
    return true;
  };
  for (const part of ['faults', 'pairs'] as const) {
    for (let size = Math.ceil(smallest.plan[part].length / 2); size >= 1; size = Math.floor(size / 2)) {
      for (let at = 0; at < smallest.plan[part].length && left > 0; ) {
        const { plan } = smallest;
        const fewer = [...plan[part].slice(0, at), ...plan[part].slice(at + size)];
        if ((part === 'pairs' && fewer.length === 0) || !(await holds({ ...plan, [part]: fewer })))
          at += size;
      }
    }
  }
  return smallest;
}
