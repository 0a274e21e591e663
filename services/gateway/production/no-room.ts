import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { growingPause } from '#common/time/growing-pause.ts';
import type { KeyStream } from '../streams/key-stream.ts';

const FIRST_PAUSE_MS = 50;
const MAX_PAUSE_MS = 1_000;

/** This end of a stream is full, in words for the application at the other end. */
export function noRoom({ buffer }: KeyStream): KeyweaveError {
  return new KeyweaveError(
    'NO_ROOM',
    `the other end holds ${buffer.size} unread keys and takes no more until its application reads them`,
  );
}

/** How long to wait before asking for room again, after so many times in vain (from 1), milliseconds. */
export function pauseForRoom(times: number): number {
  return growingPause(times - 1, FIRST_PAUSE_MS, MAX_PAUSE_MS);
}
