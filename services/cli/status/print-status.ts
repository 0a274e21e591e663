import type { NodeStatus } from '#common/status/node-status.ts';
import { DAY_MS } from '#common/time/durations.ts';
import { tableText } from '../table.ts';

/** A node's status for people. */
export function statusText(status: NodeStatus): string {
  const { node, version, problems, mismatches, sourceFaults } = status;
  const state = problems.length === 0 ? 'ready' : 'NOT READY';
  const alarms = [
    ...problems.map((problem) => `! ${problem}`),
    ...(mismatches > 0 ? [`! ${mismatches} batches whose ends derived different keys`] : []),
    ...(sourceFaults > 0 ? [`! ${sourceFaults} batches with equal or empty secrets of a source`] : []),
  ];
  const parts = [
    [`node ${node}, version ${version}: ${state}`, ...alarms].join('\n'),
    tableText(
      [
        'peer',
        'state',
        'round trip',
        'streams',
        'joined',
        'keys/s',
        'made/s',
        'buffered',
        'coming',
        'waiting',
        'delivered',
      ],
      status.peers.map((peer) => [
        peer.node,
        peer.isUp === undefined ? '?' : peer.isUp ? 'up' : 'DOWN',
        peer.rttSeconds === undefined ? '-' : time(peer.rttSeconds),
        peer.streams,
        peer.joined,
        peer.deliveredPerSecond.toFixed(1),
        peer.madePerSecond.toFixed(1),
        peer.buffered,
        peer.coming,
        peer.waiting,
        peer.delivered,
      ]),
    ),
    tableText(
      ['source', 'operation', 'a second', 'mean', 'failures since the start'],
      status.sources.map(({ source, operation, perSecond, meanSeconds, failures }) => [
        source,
        operation,
        perSecond.toFixed(1),
        time(meanSeconds),
        Object.entries(failures)
          .map(([outcome, count]) => `${count} ${outcome}`)
          .join(', '),
      ]),
    ),
    tableText(
      ['refused', 'status', 'reason', 'a second', 'since the start'],
      status.refusals.map(({ call, status: code, reason, perSecond, total }) => [
        call,
        code,
        reason,
        perSecond.toFixed(1),
        total,
      ]),
    ),
    tableText(
      ['service', 'up', 'restarts', 'memory', 'CPU', 'event loop late, p99'],
      status.services.map((service) => [
        service.name,
        duration(service.upSeconds),
        service.restarts,
        `${Math.round(service.memoryBytes / 1e6)} MB`,
        `${(service.cpu * 100).toFixed(1)} %`,
        time(service.lateSeconds),
      ]),
    ),
    tableText(
      ['certificate', 'of', 'kind', 'good until', 'left'],
      status.certificates.map(({ file, service, kind, until, secondsLeft }) => [
        file,
        service,
        kind,
        until.slice(0, 19),
        secondsLeft < 0 ? 'EXPIRED' : duration(secondsLeft),
      ]),
    ),
  ];
  return `${parts.join('\n\n')}\n`;
}

/** A time of work. */
function time(seconds: number): string {
  return seconds < 1 ? `${(seconds * 1000).toFixed(seconds < 0.01 ? 2 : 0)} ms` : `${seconds.toFixed(1)} s`;
}

/** A time of waiting, in its largest whole unit or two. */
function duration(seconds: number): string {
  const days = (seconds * 1000) / DAY_MS;
  if (days >= 2) return `${Math.floor(days)} d`;
  if (seconds >= 7_200) return `${Math.floor(seconds / 3_600)} h`;
  return seconds >= 120 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds)} s`;
}
