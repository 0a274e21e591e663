import { Chart } from './charts.js';
import { byId, html, update } from './elements.js';
import { networkPicture } from './network.js';
import {
  algorithmFamilies,
  certificatesTable,
  linksTable,
  refusalsTable,
  servicesTable,
  speedsTable,
  streamsTable,
} from './tables.js';
import { countText, rateText, shortNode } from './words.js';

/** @typedef {import('../answers.ts').ConsoleState} ConsoleState */
/** @typedef {import('../answers.ts').ConsoleAnswer} ConsoleAnswer */
/** @typedef {import('../answers.ts').Moment} Moment */

const EVERY_MS = 1_000;
/** An answer that takes longer counts as none. */
const LIMIT_MS = 4_000;
const MOST_MOMENTS = 320;

/** Places of a moment's numbers, as answers.ts has them. */
const FIELD = { delivered: 0, made: 1, ready: 2, coming: 3, taken: 4, held: 5 };

/** @typedef {keyof typeof FIELD} Field */

/**
 * @param {string} title
 * @param {(value: number) => string} text
 * @param {[field: Field, name: string, colour: string][]} series
 */
function chartOf(title, text, series) {
  const chart = new Chart({ title, text, series: series.map(([, name, colour]) => ({ name, colour })) });
  return { chart, fields: series.map(([field]) => FIELD[field]) };
}

const charts = [
  chartOf('Keys a second', rateText, [
    ['delivered', 'delivered', 'accent'],
    ['made', 'made', 'plain'],
  ]),
  chartOf('Keys in buffers', countText, [
    ['ready', 'ready', 'accent'],
    ['coming', 'coming', 'plain'],
  ]),
  chartOf('QKD keys a second', rateText, [['taken', 'taken', 'quantum']]),
  chartOf('QKD keys held', countText, [['held', 'wait for a batch', 'quantum']]),
];
byId('charts').append(...charts.map(({ chart }) => chart.figure));

/** @type {Moment[]} */
let moments = [];
/** @type {ConsoleState | undefined} */
let latest;

/** Asks for what is new, and shows it; says so where nobody answers. */
async function follow() {
  try {
    const since = moments.at(-1)?.n ?? 0;
    const answer = await fetch(`/api/state?since=${since}`, { signal: AbortSignal.timeout(LIMIT_MS) });
    if (!answer.ok) throw new Error(`the console answers ${answer.status}`);
    /** @type {ConsoleAnswer} */
    const { state, history } = await answer.json();
    // Another gateway counts anew; what it has told to an old number may lack a beginning.
    if (latest && latest.startedAt !== state.startedAt) {
      latest = undefined;
      moments = [];
    } else {
      latest = state;
      moments = [...moments, ...history].slice(-MOST_MOMENTS);
      show(state);
    }
  } catch {
    showSilence();
  }
  setTimeout(follow, EVERY_MS);
}

/** @param {ConsoleState} state */
function show(state) {
  document.body.dataset.reached = 'yes';
  const { node, problems } = state;
  document.title = `${shortNode(node.uuid)} · Keyweave console`;
  update(byId('node'), node, () => [`node ${node.uuid} · version ${node.version}`]);
  const [standing, words] =
    problems === null
      ? ['unknown', 'Health not known']
      : problems.length === 0
        ? ['up', 'Ready']
        : ['down', 'Not ready'];
  showHealth(standing, words);
  showNotices(state);
  drawNetwork();
  const figures = figuresOf(state);
  update(byId('figures'), figures, () =>
    figures.map(([name, value, more]) =>
      html(
        'div',
        { class: 'card figure' },
        html('dt', {}, name),
        html('dd', {}, value),
        html('dd', { class: 'quiet' }, more),
      ),
    ),
  );
  for (const { chart, fields } of charts) {
    const points = moments.map(({ at, peers }) => ({
      at,
      values: fields.map((field) => Object.values(peers).reduce((sum, of) => sum + (of[field] ?? 0), 0)),
    }));
    chart.show(points, state.at);
  }
  update(byId('links'), state.peers, () => linksTable(state));
  const { shown, total } = state.streams;
  update(byId('streams'), state.streams, () => streamsTable(state));
  const count = total > shown.length ? `${shown.length} of ${countText(total)}` : countText(total);
  update(byId('streams-count'), count, () => [count]);
  update(byId('refusals'), state.refusals, () => refusalsTable(state));
  const dates = state.certificates.map(({ secondsLeft, ...of }) => ({
    ...of,
    minutes: Math.floor(secondsLeft / 60),
  }));
  update(byId('certificates'), [dates, state.metricsMissing], () => certificatesTable(state));
  update(byId('speeds'), [state.sources, state.metricsMissing], () => speedsTable(state));
  update(byId('services'), [state.services, state.metricsMissing], () => servicesTable(state));
  update(byId('algorithms'), state.algorithms, () => algorithmFamilies(state));
  const usable = state.algorithms.filter(({ unavailable }) => unavailable === '').length;
  const algorithms = `${usable} of ${state.algorithms.length} to be had here`;
  update(byId('algorithms-count'), algorithms, () => [algorithms]);
}

/** @param {string} state @param {string} words */
function showHealth(state, words) {
  const health = byId('health');
  health.dataset.state = state;
  update(health, words, () => [words]);
}

/** @param {ConsoleState} state */
function showNotices({ problems, metricsMissing, mismatches, sourceFaults }) {
  const alarms = [
    ...(mismatches > 0 ? [`${countText(mismatches)} batches whose ends derived different keys`] : []),
    ...(sourceFaults > 0
      ? [`${countText(sourceFaults)} batches with equal or empty secrets of a source`]
      : []),
    ...(problems ?? []),
  ];
  const notices = [
    ...alarms.map((text) => ({ kind: 'alarm', text })),
    ...(metricsMissing === null ? [] : [{ kind: 'hint', text: metricsMissing }]),
  ];
  update(byId('notices'), notices, () =>
    notices.map(({ kind, text }) => html('p', { class: 'notice', 'data-kind': kind }, text)),
  );
}

function showSilence() {
  document.body.dataset.reached = 'no';
  showHealth('down', 'No connection');
  const text = 'The gateway does not answer. What stands here is old; it is asked again every second.';
  update(byId('notices'), text, () => [html('p', { class: 'notice', 'data-kind': 'alarm' }, text)]);
}

/** The numbers that tell at one look how it goes. @param {ConsoleState} state @returns {[name: string, value: string, more: string][]} */
function figuresOf({ peers, streams }) {
  const sum = (/** @type {(peer: ConsoleState['peers'][number]) => number} */ of) =>
    peers.reduce((total, peer) => total + of(peer), 0);
  const up = peers.filter(({ isUp }) => isUp).length;
  const asked = peers.filter(({ isUp }) => isUp !== null).length;
  return [
    [
      'Keys a second',
      rateText(sum((peer) => peer.deliveredPerSecond)),
      `${countText(sum((peer) => peer.delivered))} delivered`,
    ],
    ['Keys ready', countText(sum((peer) => peer.ready)), `${countText(sum((peer) => peer.coming))} coming`],
    ['Streams', countText(streams.total), `${countText(sum((peer) => peer.joined))} joined at both ends`],
    [
      'Peers',
      asked === 0 ? `${peers.length}` : `${up} of ${peers.length}`,
      asked === 0 ? 'trusted' : 'answer',
    ],
    ['Requests waiting', countText(sum((peer) => peer.waiting)), 'for a key, now'],
    [
      'QKD keys held',
      countText(sum((peer) => peer.qkd.held)),
      `${countText(sum((peer) => peer.qkd.taken))} taken`,
    ],
  ];
}

function drawNetwork() {
  const place = byId('network');
  const width = Math.floor(place.clientWidth);
  const state = latest;
  if (!state || width === 0) return;
  update(place, [width, state.peers, state.services, state.problems], () => [networkPicture(state, width)]);
}

new ResizeObserver(drawNetwork).observe(byId('network'));
follow();
