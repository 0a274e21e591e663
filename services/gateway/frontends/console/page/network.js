import { svg } from './elements.js';
import { countOf, rateText, shortNode, timeText } from './words.js';

/** @typedef {import('../answers.ts').ConsoleState} ConsoleState */
/** @typedef {import('../answers.ts').PeerState} PeerState */
/** @typedef {'up' | 'down' | 'unknown'} Standing */
/** @typedef {readonly [x: number, y: number]} Spot */

/** Below this width the peers stand under the node, not beside it. */
const NARROW = 600;
/** Peers that are drawn; the table has all. */
const MOST_PEERS = 8;

const OWN_WIDTH = 196;
/** With a line for each service, and without any. */
const OWN_HEIGHTS = { services: 182, bare: 82 };
const PEER = { width: 196, height: 82 };
const GAP = 26;

/** How far the strands of a link swing, and how often. */
const SWING = 7;
const PITCH = 56;

/** @param {PeerState} peer @returns {Standing} */
export function standingOf({ isUp }) {
  return isUp === null ? 'unknown' : isUp ? 'up' : 'down';
}

/** @type {Readonly<Record<Standing, string>>} */
export const STANDING = { up: 'answers', down: 'does not answer', unknown: 'not asked' };

/**
 * The node, its peers, and the links between them: two strands, woven.
 *
 * @param {ConsoleState} state
 * @param {number} width of the picture, pixels
 */
export function networkPicture(state, width) {
  const peers = state.peers.slice(0, MOST_PEERS);
  const tall = OWN_HEIGHTS[state.services.length > 0 ? 'services' : 'bare'];
  const isNarrow = width < NARROW;
  const column = peers.length * (PEER.height + GAP) - GAP;
  const height = isNarrow ? tall + 45 + Math.max(0, column) : Math.max(tall + 60, column + 20);
  const own = isNarrow
    ? { x: 1, y: 1, width: width - 2, height: tall }
    : { x: 1, y: (height - tall) / 2, width: OWN_WIDTH, height: tall };
  const placed = peers.map((peer, i) => {
    const y = (isNarrow ? tall + 44 : (height - column) / 2) + i * (PEER.height + GAP);
    const left = isNarrow ? 72 : width - PEER.width - 1;
    return {
      peer,
      box: { x: left, y, width: isNarrow ? width - left - 1 : PEER.width, height: PEER.height },
    };
  });
  const words = peers.map((peer) => `${shortNode(peer.node)} ${STANDING[standingOf(peer)]}`);
  const hidden = state.peers.length - peers.length;
  const more = hidden > 0 ? `, and ${hidden} more` : '';
  return svg(
    'svg',
    {
      ...{ role: 'img', viewBox: `0 0 ${width} ${height}`, width, height },
      'aria-label': `This node and ${countOf(state.peers.length, 'peer')}: ${words.join(', ')}${more}`,
    },
    ...placed.map(({ peer, box }, i) => link(peer, { own, box, isNarrow, i, all: placed.length })),
    ownNode(state, own),
    ...placed.map(({ peer, box }) => peerNode(peer, box)),
  );
}

/** @typedef {{ x: number, y: number, width: number, height: number }} Box */

/** @param {ConsoleState} state @param {Box} box */
function ownNode({ node, problems, services }, box) {
  const state = problems === null ? 'unknown' : problems.length === 0 ? 'up' : 'down';
  const rows = services.slice(0, 5).map(({ name, cpu }, i) => {
    const y = box.y + 76 + i * 21;
    return svg(
      'g',
      {},
      svg('circle', { class: 'dot', cx: box.x + 22, cy: y - 4, r: 3.5, 'data-state': 'up' }),
      svg('text', { class: 'small', x: box.x + 34, y }, name),
      svg(
        'text',
        { class: 'small quiet', x: box.x + box.width - 16, y, 'text-anchor': 'end' },
        `${(cpu * 100).toFixed(cpu < 0.1 ? 1 : 0)} %`,
      ),
    );
  });
  return svg(
    'g',
    { class: 'node own', 'data-state': state, 'data-node': node.uuid },
    svg('rect', { ...box, rx: 14 }),
    svg('text', { class: 'kind', x: box.x + 16, y: box.y + 26 }, 'This node'),
    svg('text', { class: 'title', x: box.x + 16, y: box.y + 48 }, shortNode(node.uuid)),
    ...rows,
  );
}

/** @param {PeerState} peer @param {Box} box */
function peerNode(peer, box) {
  const standing = standingOf(peer);
  const trip = standing === 'up' && peer.rttSeconds !== null ? ` in ${timeText(peer.rttSeconds)}` : '';
  return svg(
    'g',
    { class: 'node peer', 'data-state': standing, 'data-peer': peer.node },
    svg('rect', { ...box, rx: 14 }),
    svg('circle', { class: 'dot', cx: box.x + 22, cy: box.y + 22, r: 4.5, 'data-state': standing }),
    svg('text', { class: 'title', x: box.x + 36, y: box.y + 27 }, shortNode(peer.node)),
    svg('text', { class: 'small quiet', x: box.x + 16, y: box.y + 49 }, peer.address ?? 'no longer trusted'),
    svg('text', { class: 'small state', x: box.x + 16, y: box.y + 68 }, `${STANDING[standing]}${trip}`),
  );
}

/**
 * @param {PeerState} peer
 * @param {{ own: Box, box: Box, isNarrow: boolean, i: number, all: number }} place
 */
function link(peer, { own, box, isNarrow, i, all }) {
  const standing = standingOf(peer);
  /** @type {Spot} */
  const to = [box.x, box.y + box.height / 2];
  const spread = own.height - 56;
  /** @type {Spot} */
  const from = isNarrow
    ? [18 + (i % 4) * 14, own.y + own.height]
    : [own.x + own.width, own.y + 28 + (all === 1 ? spread / 2 : (i * spread) / (all - 1))];
  /** @type {readonly [Spot, Spot, Spot, Spot]} */
  const curve = isNarrow
    ? [from, [from[0], to[1] - 8], [from[0], to[1]], to]
    : [from, [from[0] + (to[0] - from[0]) * 0.45, from[1]], [to[0] - (to[0] - from[0]) * 0.45, to[1]], to];
  const strands = weave(curve);
  const flows = peer.deliveredPerSecond > 0 || peer.madePerSecond > 0 ? 'flows' : 'rests';
  const quantum = peer.qkd.held > 0 || peer.qkd.takenPerSecond > 0 ? 'quantum' : 'quantum idle';
  const [x, y] = at(curve, 0.5);
  return svg(
    'g',
    { class: `link ${flows}`, 'data-state': standing },
    svg('path', { class: 'strand kem', d: strands[0] }),
    svg('path', { class: `strand ${quantum}`, d: strands[1] }),
    ...(isNarrow
      ? []
      : [
          svg('rect', { class: 'plate', x: x - 58, y: y - 22, width: 116, height: 44, rx: 10 }),
          svg(
            'text',
            { class: 'rate', x, y: y - 3, 'text-anchor': 'middle' },
            `${rateText(peer.deliveredPerSecond)} keys/s`,
          ),
          svg(
            'text',
            { class: 'small quiet', x, y: y + 14, 'text-anchor': 'middle' },
            countOf(peer.streams, 'stream'),
          ),
        ]),
  );
}

/** A spot on a Bézier curve. @param {readonly Spot[]} curve @param {number} t @returns {Spot} */
function at(curve, t) {
  const u = 1 - t;
  const weights = [u * u * u, 3 * u * u * t, 3 * u * t * t, t * t * t];
  const along = (/** @type {0 | 1} */ axis) =>
    curve.reduce((sum, spot, i) => sum + spot[axis] * (weights[i] ?? 0), 0);
  return [along(0), along(1)];
}

/** Two strands that swing about a curve, and meet at its ends. @param {readonly Spot[]} curve */
function weave(curve) {
  const steps = 120;
  const spots = Array.from({ length: steps + 1 }, (_, i) => at(curve, i / steps));
  const lengths = spots.map((spot, i) => {
    const before = spots[i - 1] ?? spot;
    return Math.hypot(spot[0] - before[0], spot[1] - before[1]);
  });
  const total = lengths.reduce((sum, length) => sum + length, 0);
  const turns = Math.max(1, Math.round(total / PITCH));
  let gone = 0;
  const sides = spots.map((spot, i) => {
    gone += lengths[i] ?? 0;
    const [ahead = spot, behind = spot] = [spots[i + 1], spots[i - 1]];
    const [dx, dy] = [ahead[0] - behind[0], ahead[1] - behind[1]];
    const length = Math.hypot(dx, dy) || 1;
    const swing = SWING * Math.sin((gone / total) * turns * Math.PI);
    return { spot, nx: (-dy / length) * swing, ny: (dx / length) * swing };
  });
  return [1, -1].map(
    (side) =>
      `M${sides
        .map(({ spot, nx, ny }) => `${(spot[0] + side * nx).toFixed(1)},${(spot[1] + side * ny).toFixed(1)}`)
        .join('L')}`,
  );
}
