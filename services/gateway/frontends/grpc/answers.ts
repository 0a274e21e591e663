import { KEM_ALGORITHMS } from '#common/catalogue/kems.ts';
import { HYBRIDIZATION_METHODS } from '#common/catalogue/methods.ts';
import { ownCopy } from '#common/crypto/bytes.ts';
import {
  type Key,
  type KeyDeliveryListAlgorithmsResponse,
  PeerApplication,
  type StreamStatus as StreamStatusMessage,
} from '#gen/keyweave/v1/key_delivery.ts';
import type { Delivered, StreamStatus } from '../../delivery/key-delivery.ts';

const PRESENCE = {
  absent: PeerApplication.ABSENT,
  joined: PeerApplication.JOINED,
  closed: PeerApplication.CLOSED,
} as const;

/** A key on its way; whoever lays it out for the wire wipes it. */
export function keyMessage({ index, key, metadata }: Delivered): Key {
  const message = { index, key: ownCopy(key.expose()), metadata };
  key.wipe();
  return message;
}

export function statusMessage(status: StreamStatus): StreamStatusMessage {
  const { ksid, source, destination, peer, peerApplication, method, sources, qos, readyKeys } = status;
  return {
    keyStreamId: ksid,
    ...{ source, destination, method, qos, readyKeys },
    peerNode: peer,
    peerApplication: PRESENCE[peerApplication],
    sources: [...sources],
  };
}

/** @param unavailable KEMs by name, with why they cannot be done here; empty where they can. */
export function algorithmsMessage(
  unavailable: ReadonlyMap<string, string>,
): KeyDeliveryListAlgorithmsResponse {
  return {
    sources: [
      { name: 'QKD', aliases: [], nistLevel: 0, unavailable: '' },
      ...KEM_ALGORITHMS.map(({ name, aliases, nistLevel }) => ({
        name,
        aliases: [...aliases],
        nistLevel,
        unavailable: unavailable.get(name) ?? 'pqc-source of this node does not know it',
      })),
    ],
    methods: HYBRIDIZATION_METHODS.map(({ name, compatible }) => ({ name, compatible })),
  };
}
