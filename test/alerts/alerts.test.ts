import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { HOME } from '#common/service/installation.ts';
import { alertNames, dashboardQueries, RULES } from '../helpers/alert-rules.ts';
import { findPromtool, promtool } from '../helpers/promtool.ts';

const TESTS = `${HOME}test/alerts/alerts.yml`;
const found = findPromtool();
const missing = 'missing' in found ? found.missing : undefined;
if (missing !== undefined) process.stderr.write(`the alert rules are NOT tested: ${missing}\n`);
const path = 'path' in found ? found.path : '';

describe('the alert rules', { skip: missing ?? false }, () => {
  it('are rules', () => {
    const { passed, said } = promtool(path, 'check', 'rules', RULES);
    assert.ok(passed, said);
  });

  it('fire and stay silent as their unit tests say', () => {
    const { passed, said } = promtool(path, 'test', 'rules', TESTS);
    assert.ok(passed, said);
  });
});

describe('every alert', () => {
  const runbook = readFileSync(`${HOME}docs/runbook.md`, 'utf8');
  const tests = readFileSync(TESTS, 'utf8');
  const names = alertNames();

  it('has a section of the runbook, which it points to, and there is no other section', () => {
    const sections = [...runbook.matchAll(/^## (\w+)$/gm)].map(([, name]) => name);
    assert.ok(names.length >= 15);
    assert.deepEqual(sections.toSorted(), names.toSorted());
    const rules = readFileSync(RULES, 'utf8');
    for (const name of names)
      assert.ok(rules.includes(`runbook: docs/runbook.md#${name.toLowerCase()}\n`), name);
  });

  it('says in its section, too, how urgent it is', () => {
    for (const [, name = '', severity] of readFileSync(RULES, 'utf8').matchAll(
      /- alert: (\w+)[\s\S]*?severity: (\w+)/g,
    )) {
      const word = severity === 'page' ? 'Page' : 'Ticket';
      assert.match(runbook, new RegExp(`## ${name}\\n\\n${word}\\. `), name);
    }
  });

  it('has a unit test in which it fires', () => {
    for (const name of names)
      assert.match(tests, new RegExp(`alertname: ${name}\\n\\s+eval_time: \\w+\\n\\s+exp_alerts:\\n`), name);
  });
});

describe('the dashboard', () => {
  it('answers the questions in the order in which they are asked', () => {
    const { panels } = JSON.parse(
      readFileSync(`${HOME}deploy/telemetry/grafana/dashboards/keyweave.json`, 'utf8'),
    ) as { panels: { type: string; title: string; id: number }[] };
    assert.deepEqual(
      panels.filter(({ type }) => type === 'row').map(({ title }) => title),
      [
        'Are keys flowing?',
        'At what speed?',
        'Which source is starving?',
        'Which peer is down?',
        'What expires soon?',
        'Is the machine large enough?',
      ],
    );
    assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
    assert.ok(dashboardQueries().every((query) => query.includes('instance=~"$node"')));
  });
});
