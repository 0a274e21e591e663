import type { Qos } from '#gen/keyweave/v1/common.ts';
import type { StreamTerms } from '../streams/stream-terms.ts';

/** What an application wants of a stream. */
export interface StreamWish {
  readonly terms: StreamTerms;
  readonly qos: Qos;
  readonly ksid: string | undefined;
  readonly presence: 'app' | 'node';
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

export interface InitiatorWish extends StreamWish {
  readonly ksid: string;
  readonly predefined: boolean;
}
