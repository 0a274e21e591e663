import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HOME } from '#common/service/installation.ts';
import { promtool } from './promtool.ts';

export const RULES = `${HOME}deploy/telemetry/alerts.yml`;
export const DASHBOARD = `${HOME}deploy/telemetry/grafana/dashboards/keyweave.json`;

/** Names of metrics in a query: those of recording rules have colons. */
export function metricsIn(query: string): string[] {
  return query.match(/(?<![\w:])(?:keyweave|nodejs|process)_[a-z0-9_]+/g) ?? [];
}

/** Names of the alerts. */
export function alertNames(): string[] {
  return [...readFileSync(RULES, 'utf8').matchAll(/^ *- alert: (\w+)$/gm)].map(([, name = '']) => name);
}

/** Every query of the dashboard. */
export function dashboardQueries(): string[] {
  const { panels } = JSON.parse(readFileSync(DASHBOARD, 'utf8')) as {
    panels: { targets?: { expr: string }[] }[];
  };
  return panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
}

/** What has happened to these goes on happening, as much each minute. */
const COUNTER = /_(?:total|count|sum|bucket)$/;

/** Minutes that the samples before stand, and those after; what has to be seen for a while is. */
const BEFORE_MIN = 5;
const AFTER_MIN = 20;

/**
 * Which alerts fire a few minutes after a node's samples have changed from
 * `before` to `after`, and counters go on as they did, as promtool works them out.
 *
 * @param samples by name and labels, of the metrics that rules look at.
 * @param wallS when they were taken, seconds since 1970: promtool's time begins at 0.
 */
export function firing(
  path: string,
  before: ReadonlyMap<string, number>,
  after: ReadonlyMap<string, number>,
  wallS: number,
): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'keyweave-rules-'));
  const used = new Set(metricsIn(readFileSync(RULES, 'utf8')));
  const series = [...after].flatMap(([name, value]) => {
    const metric = name.split('{')[0] ?? '';
    if (!used.has(metric)) return [];
    const shift = metric.startsWith('keyweave_certificate_') ? wallS : 0;
    const old = before.get(name);
    const step = COUNTER.test(metric) ? value - (old ?? 0) : 0;
    const values = `${old === undefined ? '_' : old - shift}x${BEFORE_MIN} ${value - shift}+${step}x${AFTER_MIN}`;
    return [{ series: name, values }];
  });
  const names = alertNames();
  const test = {
    rule_files: [RULES],
    evaluation_interval: '30s',
    tests: [
      {
        interval: '1m',
        input_series: series,
        // What is expected is wrong on purpose where it fires: promtool then says so.
        promql_expr_test: names.map((name) => ({
          expr: `vector(1) and on() ALERTS{alertname="${name}", alertstate="firing"} or vector(0)`,
          eval_time: `${BEFORE_MIN + 4}m`,
          exp_samples: [{ labels: '{}', value: 0 }],
        })),
      },
    ],
  };
  const file = join(folder, 'test.yml');
  writeFileSync(file, JSON.stringify(test));
  try {
    const { passed, said } = promtool(path, 'test', 'rules', file);
    // It fails where an alert fires; of anything else it says other words.
    if (!passed && !said.includes('exp:')) throw new Error(said);
    const plain = said.replaceAll('\\', '');
    return names.filter((name) => plain.includes(`alertname="${name}"`));
  } finally {
    rmSync(folder, { recursive: true });
  }
}
