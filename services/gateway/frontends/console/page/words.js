/** Why requests are refused, for people; what is not here is shown as it is. */
/** @type {Readonly<Record<string, string>>} */
const REASONS = {
  BAD_REQUEST: 'the request cannot be read',
  NO_ROUTE: 'names no node that is known',
  UNSUPPORTED: 'an algorithm or parameter that is not to be had',
  QOS_NOT_MET: 'the quality of service cannot be met',
  REVISION_MISMATCH: 'the two nodes mean different things',
  KSID_IN_USE: "the stream's name is taken",
  UNKNOWN_STREAM: 'there is no such stream',
  PEER_APPLICATION_ABSENT: 'the other application is not there',
  PEER_UNREACHABLE: 'the other node cannot be reached',
  SERVICE_UNAVAILABLE: 'a service of this node cannot be reached',
  INSUFFICIENT_KEY: 'a source has run dry, or the index is gone',
  NO_ROOM: 'one end holds as many unread keys as it may',
  QKD_UNAVAILABLE: 'the key manager cannot be reached',
  QKD_OUT_OF_STEP: 'the QKD streams of both ends lost step',
  SOURCE_FAULT: 'a source gave unsound secrets',
  AGREEMENT_FAILED: 'the two ends do not agree',
  TIMEOUT: 'no key in time',
  METADATA_TOO_SMALL: 'too little room for metadata',
  NOT_ALLOWED: 'the client may not do this',
  LIMIT_EXCEEDED: 'a limit of this node is reached',
  SHUTTING_DOWN: 'the node is stopping',
  INTERNAL: 'a fault of the program',
};

/** @type {Readonly<Record<string, string>>} */
const CALLS = { open: 'OPEN_CONNECT', getKey: 'GET_KEY', close: 'CLOSE' };

/** @param {string} reason */
export const reasonInWords = (reason) => REASONS[reason] ?? reason;

/** @param {string} call */
export const callInWords = (call) => CALLS[call] ?? call;

/** A node's UUID, as short as people say it. @param {string} uuid */
export const shortNode = (uuid) => uuid.slice(0, 8);

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat('en-GB', { timeStyle: 'medium' });

/** How many there are. @param {number} count */
export const countText = (count) => (count < 100_000 ? whole.format(count) : compact.format(count));

/** How many a second. @param {number} rate */
export function rateText(rate) {
  if (rate < 0.05) return '0';
  return rate < 10 ? rate.toFixed(1) : countText(rate);
}

/** A time of work. @param {number} seconds */
export function timeText(seconds) {
  if (seconds >= 1) return `${seconds.toFixed(1)} s`;
  const ms = seconds * 1000;
  return `${ms.toFixed(ms < 10 ? 2 : 0)} ms`;
}

/** A time of waiting, in its largest whole unit. @param {number} seconds */
export function durationText(seconds) {
  if (seconds >= 172_800) return `${Math.floor(seconds / 86_400)} days`;
  if (seconds >= 7_200) return `${Math.floor(seconds / 3_600)} h`;
  return seconds >= 120 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds)} s`;
}

/** When on this day. @param {number} ms since 1970 */
export const clockText = (ms) => clock.format(ms);

/** @param {number} count @param {string} one @param {string} [many] */
export const countOf = (count, one, many = `${one}s`) => `${countText(count)} ${count === 1 ? one : many}`;
