import { html } from './elements.js';
import { STANDING, standingOf } from './network.js';
import {
  callInWords,
  clockText,
  countText,
  durationText,
  rateText,
  reasonInWords,
  shortNode,
  timeText,
} from './words.js';

/** @typedef {import('../answers.ts').ConsoleState} ConsoleState */
/** @typedef {import('./elements.js').Child} Child */

/** Certificates that come to their end within so many days are told apart. */
const SOON_DAYS = 14;
const DAY_SECONDS = 86_400;

/** @param {string} text */
const quiet = (text) => html('p', { class: 'quiet none' }, text);

/** @param {string} state @param {string} text */
const badge = (state, text) => html('span', { class: 'badge', 'data-state': state }, text);

/** @param {string} text */
const code = (text) => html('code', {}, text);

/**
 * Rows under headings; a heading that begins with # is of numbers.
 *
 * @param {string} name what the table is of
 * @param {string[]} headings
 * @param {Child[][]} rows
 */
function table(name, headings, rows) {
  const isNumber = headings.map((heading) => heading.startsWith('#'));
  const kind = (/** @type {number} */ i) => (isNumber[i] ? 'number' : undefined);
  const head = headings.map((heading, i) =>
    html('th', { scope: 'col', class: kind(i) }, heading.replace(/^#/, '')),
  );
  const body = rows.map((row) =>
    html('tr', {}, ...row.map((cell, i) => html('td', { class: kind(i) }, cell))),
  );
  return html(
    'div',
    { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': `Table of ${name}` },
    html('table', {}, html('thead', {}, html('tr', {}, ...head)), html('tbody', {}, ...body)),
  );
}

/** @param {ConsoleState} state @returns {Child[]} */
export function linksTable({ peers }) {
  if (peers.length === 0) return [quiet('No peer is trusted.')];
  const headings = [
    ...['Peer', 'State', '#Round trip', '#Keys/s', '#Delivered', '#Ready', '#Coming', '#Waiting'],
    ...['#QKD held', '#QKD taken', '#QKD woven', '#QKD burned'],
  ];
  const rows = peers.map((peer) => {
    const standing = standingOf(peer);
    return [
      html('span', { title: peer.node }, code(shortNode(peer.node))),
      badge(standing, STANDING[standing]),
      peer.rttSeconds === null ? '–' : timeText(peer.rttSeconds),
      rateText(peer.deliveredPerSecond),
      ...[peer.delivered, peer.ready, peer.coming, peer.waiting].map(countText),
      ...[peer.qkd.held, peer.qkd.taken, peer.qkd.woven, peer.qkd.burned].map(countText),
    ];
  });
  return [table('links', headings, rows)];
}

/** @type {Readonly<Record<string, [state: string, words: string]>>} */
const PRESENCE = {
  joined: ['up', 'both joined'],
  waiting: ['unknown', 'waits'],
  absent: ['unknown', 'other end absent'],
  closed: ['down', 'other end closed'],
};

/** @param {ConsoleState} state @returns {Child[]} */
export function streamsTable({ streams }) {
  if (streams.total === 0)
    return [quiet('No stream is open. One appears as soon as an application asks for keys.')];
  const headings = [
    'Stream',
    'Peer',
    'Woven of',
    'Method',
    'State',
    '#Ready',
    '#Coming',
    '#Waiting',
    '#Delivered',
  ];
  const rows = streams.shown.map((stream) => {
    const [state, words] = (stream.here === 'joined' ? PRESENCE[stream.there] : PRESENCE.waiting) ?? [
      ...['unknown', stream.there],
    ];
    return [
      code(stream.stream),
      html('span', { title: stream.peer }, code(shortNode(stream.peer))),
      sourceChips(stream.sources),
      stream.method,
      badge(state ?? '', words ?? ''),
      ...[stream.ready, stream.coming, stream.waiting, stream.delivered].map(countText),
    ];
  });
  return [table('streams', headings, rows)];
}

/** @param {readonly string[]} sources */
function sourceChips(sources) {
  const chips = sources.map((source) =>
    html('li', { class: source === 'QKD' ? 'chip quantum' : 'chip kem' }, source),
  );
  return html('ul', { class: 'chips' }, ...chips);
}

/** @param {ConsoleState} state @returns {Child[]} */
export function refusalsTable({ refusals }) {
  if (refusals.length === 0) return [quiet('No request has been refused since the gateway began.')];
  const rows = refusals.map(({ call, reason, status, total, lastAt }) => [
    clockText(lastAt),
    callInWords(call),
    html('span', {}, code(reason), html('br'), html('small', { class: 'quiet' }, reasonInWords(reason))),
    String(status),
    countText(total),
  ]);
  return [table('refusals', ['Last', 'Call', 'Reason', '#Status', '#Times'], rows)];
}

/** @param {ConsoleState} state @returns {Child[]} */
export function certificatesTable({ certificates, metricsMissing }) {
  if (certificates.length === 0) return [quiet(metricsMissing ?? 'None is known.')];
  const rows = [...certificates]
    .sort((one, other) => one.secondsLeft - other.secondsLeft)
    .map(({ file, service, kind, until, secondsLeft }) => {
      const isSoon = secondsLeft < SOON_DAYS * DAY_SECONDS;
      const left = secondsLeft < 0 ? 'expired' : durationText(secondsLeft);
      return [
        code(file),
        service,
        kind,
        html('time', { datetime: until }, until.slice(0, 10)),
        badge(secondsLeft < 0 ? 'down' : isSoon ? 'soon' : 'up', left),
      ];
    });
  return [table('certificates', ['File', 'Of', 'Kind', 'Good until', 'Left'], rows)];
}

/** @param {ConsoleState} state @returns {Child[]} */
export function speedsTable({ sources, metricsMissing }) {
  if (sources.length === 0)
    return [quiet(metricsMissing ?? 'Nothing has been measured yet: speeds are those of real use.')];
  const rows = sources.map(({ source, operation, perSecond, meanSeconds, failures }) => [
    source,
    operation,
    timeText(meanSeconds),
    rateText(perSecond),
    Object.entries(failures)
      .map(([outcome, count]) => `${countText(count)} ${outcome}`)
      .join(', ') || '–',
  ]);
  return [table('speeds', ['Source', 'Work', '#A call takes', '#Calls/s', 'Failed'], rows)];
}

/** @param {ConsoleState} state @returns {Child[]} */
export function servicesTable({ services, metricsMissing }) {
  if (services.length === 0) return [quiet(metricsMissing ?? 'None is known.')];
  const rows = services.map(({ name, upSeconds, restarts, cpu, memoryBytes, lateSeconds }) => [
    name,
    durationText(upSeconds),
    restarts > 0 ? badge('soon', countText(restarts)) : '0',
    `${(cpu * 100).toFixed(1)} %`,
    `${Math.round(memoryBytes / 1e6)} MB`,
    timeText(lateSeconds),
  ]);
  const headings = ['Service', '#Up', '#Restarts', '#CPU', '#Memory', '#Late, p99'];
  return [table('services', headings, rows)];
}

/** The KEMs by families, each with its NIST category. @param {ConsoleState} state @returns {Child[]} */
export function algorithmFamilies({ algorithms }) {
  return [...Map.groupBy(algorithms, ({ family }) => family)].map(([family, members]) =>
    html(
      'section',
      { class: 'family' },
      html('h3', {}, family),
      html(
        'ul',
        { class: 'chips' },
        ...members.map(({ name, nistCategory, unavailable }) =>
          html(
            'li',
            { class: unavailable === '' ? 'chip kem' : 'chip off', title: unavailable ?? 'not known yet' },
            html('span', {}, name),
            html(
              'small',
              {},
              unavailable === '' ? ` category ${nistCategory}` : unavailable ? ' not here' : '',
            ),
          ),
        ),
      ),
    ),
  );
}
