import type { Address } from '#common/config/fields.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { type CallReport, type CycleOptions, type CycleReport, runCycle } from './driver-cycle.ts';

/** Which of the two applications made a call. */
export type End = 'here' | 'peer';

export interface BothEndsOptions extends Omit<CycleOptions, 'onCall'> {
  /** The other application's node. */
  readonly peerAddress: Address;
  /** Called with each answer as it comes. */
  readonly onCall?: (end: End, call: CallReport) => void;
}

export interface BothEndsReport {
  readonly here: CycleReport;
  readonly peer: CycleReport;
  /** Why an end ended early, or AGREEMENT_FAILED where the keys are not the same; undefined where all is well. */
  readonly error: unknown;
}

/** Both applications of one stream at once, each at its own node, their keys compared by index and fingerprint; never rejects. */
export async function runBothEnds(options: BothEndsOptions): Promise<BothEndsReport> {
  const { peerAddress, onCall, ...cycle } = options;
  const at = (end: End, address: Address) =>
    runCycle({ ...cycle, address, ...(onCall && { onCall: (call: CallReport) => onCall(end, call) }) });
  const [here, peer] = await Promise.all([at('here', cycle.address), at('peer', peerAddress)]);
  return { here, peer, error: here.error ?? peer.error ?? difference(here, peer) };
}

function difference(here: CycleReport, peer: CycleReport): KeyweaveError | undefined {
  const keys = ({ calls }: CycleReport) =>
    calls.filter(({ call }) => call === 'GET_KEY').map(({ index, sha256 }) => `${index} ${sha256}`);
  const theirs = keys(peer);
  return keys(here).every((key, i) => key === theirs[i])
    ? undefined
    : new KeyweaveError('AGREEMENT_FAILED', 'the two nodes gave DIFFERENT keys');
}
