import { html, svg } from './elements.js';

/** How far back a chart goes. */
const SPAN_MS = 300_000;
/** A longer silence between two moments is a gap, not a line. */
const GAP_MS = 12_000;

const HEIGHT = 132;
const EDGE = { top: 10, right: 8, bottom: 20, left: 40 };

/**
 * @typedef {object} Point
 * @property {number} at milliseconds since 1970
 * @property {number[]} values one a series
 */

/**
 * @typedef {object} ChartOptions
 * @property {string} title
 * @property {{ name: string, colour: string }[]} series the first has its area filled
 * @property {(value: number) => string} text
 */

/** Lines over the last minutes, with the latest numbers beside their names. */
export class Chart {
  #options;
  #canvas = svg('svg', { class: 'lines', height: HEIGHT });
  /** @type {HTMLElement[]} */
  #numbers = [];
  /** @type {Point[]} */
  #points = [];
  #now = 0;
  /** @type {number | undefined} */
  #hoverX;
  figure;

  /** @param {ChartOptions} options */
  constructor(options) {
    this.#options = options;
    this.#canvas.setAttribute('role', 'img');
    const keys = options.series.map(({ name, colour }) => {
      const number = html('b', {}, '0');
      this.#numbers.push(number);
      return html('li', { class: colour }, `${name} `, number);
    });
    this.figure = html(
      'figure',
      { class: 'card chart' },
      html('figcaption', {}, html('h3', {}, options.title), html('ul', { class: 'legend' }, ...keys)),
      this.#canvas,
    );
    this.#canvas.addEventListener('pointermove', (event) => {
      this.#hoverX = event.offsetX;
      this.#draw();
    });
    this.#canvas.addEventListener('pointerleave', () => {
      this.#hoverX = undefined;
      this.#draw();
    });
    new ResizeObserver(() => this.#draw()).observe(this.#canvas);
  }

  /**
   * @param {Point[]} points in order of time
   * @param {number} now milliseconds since 1970
   */
  show(points, now) {
    this.#points = points.filter(({ at }) => at >= now - SPAN_MS);
    this.#now = now;
    this.#draw();
  }

  #draw() {
    const width = this.#canvas.clientWidth;
    if (width === 0) return;
    const { series, text, title } = this.#options;
    const top = niceTop(Math.max(0, ...this.#points.flatMap(({ values }) => values)));
    const right = width - EDGE.right;
    const base = HEIGHT - EDGE.bottom;
    const x = (/** @type {number} */ at) => right - ((this.#now - at) / SPAN_MS) * (right - EDGE.left);
    const y = (/** @type {number} */ value) => base - (value / top) * (base - EDGE.top);
    const hovered = this.#hovered(x);
    const told = hovered ?? this.#points.at(-1);
    for (const [i, number] of this.#numbers.entries()) number.textContent = text(told?.values[i] ?? 0);
    this.#canvas.setAttribute('viewBox', `0 0 ${width} ${HEIGHT}`);
    const latest = this.#points.at(-1)?.values ?? [];
    const words = series.map(({ name }, i) => `${name} ${text(latest[i] ?? 0)}`);
    this.#canvas.setAttribute('aria-label', `${title}: ${words.join(', ')}`);
    const runs = runsOf(this.#points);
    this.#canvas.replaceChildren(
      ...[0, 0.5, 1].map((part) => rule(part * top, y(part * top), { width, text })),
      label(EDGE.left, HEIGHT - 4, '5 min ago', 'start'),
      label(right, HEIGHT - 4, hovered ? ago(this.#now - hovered.at) : 'now', 'end'),
      ...series.flatMap(({ colour }, i) =>
        runs.flatMap((run) => {
          const line = run.map(({ at, values }) => `${x(at).toFixed(1)},${y(values[i] ?? 0).toFixed(1)}`);
          const [first, last] = [run[0], run.at(-1)].map((point) => x(point?.at ?? 0).toFixed(1));
          const area = `M${first},${base}L${line.join('L')}L${last},${base}Z`;
          return [
            ...(i === 0 ? [svg('path', { class: `area ${colour}`, d: area })] : []),
            svg('path', { class: `line ${colour}`, d: `M${line.join('L')}` }),
          ];
        }),
      ),
      ...(hovered
        ? [svg('line', { class: 'hair', x1: x(hovered.at), x2: x(hovered.at), y1: EDGE.top, y2: base })]
        : []),
    );
  }

  /** The moment that the pointer is at. @param {(at: number) => number} x */
  #hovered(x) {
    const at = this.#hoverX;
    if (at === undefined) return undefined;
    const away = (/** @type {Point} */ point) => Math.abs(x(point.at) - at);
    return this.#points.reduce(
      (best, point) => (best && away(best) <= away(point) ? best : point),
      this.#points[0],
    );
  }
}

/** A round number that nothing goes beyond. @param {number} most */
function niceTop(most) {
  // Halves of keys would be rounded.
  if (most <= 2) return 2;
  const unit = 10 ** Math.floor(Math.log10(most));
  return unit * ([1, 2, 4, 6, 8, 10].find((times) => times * unit >= most) ?? 10);
}

/** Points without a gap between them. @param {Point[]} points */
function runsOf(points) {
  /** @type {Point[][]} */
  const runs = [];
  for (const point of points) {
    const run = runs.at(-1);
    const before = run?.at(-1);
    if (run && before && point.at - before.at < GAP_MS) run.push(point);
    else runs.push([point]);
  }
  return runs;
}

/**
 * @param {number} value
 * @param {number} y
 * @param {{ width: number, text: (value: number) => string }} of
 */
function rule(value, y, { width, text }) {
  return svg(
    'g',
    { class: 'rule' },
    svg('line', { x1: EDGE.left, x2: width - EDGE.right, y1: y, y2: y }),
    label(EDGE.left - 6, y + 4, text(value), 'end'),
  );
}

/** @param {number} x @param {number} y @param {string} text @param {'start' | 'end'} anchor */
function label(x, y, text, anchor) {
  return svg('text', { x, y, 'text-anchor': anchor }, text);
}

/** @param {number} ms */
function ago(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  return seconds < 60 ? `${seconds} s ago` : `${Math.floor(seconds / 60)} min ${seconds % 60} s ago`;
}
