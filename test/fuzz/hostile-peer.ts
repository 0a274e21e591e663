import { Metadata } from 'nice-grpc';
import { asBuffer } from '#common/crypto/bytes.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { CALLER_METADATA, PEER_METADATA } from '#common/grpc/callers.ts';
import type { GrpcConnection, ServiceClient } from '#common/grpc/client.ts';
import { TIMEOUT_METADATA } from '#common/grpc/deadline.ts';
import { PROTOCOL_VERSION } from '#common/service/version.ts';
import { spiffeId } from '#common/tls/spiffe.ts';
import {
  CloseRequest,
  ConfirmRequest,
  DemandRequest,
  JoinRequest,
  KeyAgreementDefinition,
  OpenRequest,
  ProduceRequest,
} from '#gen/keyweave/v1/key_agreement.ts';
import { rawKeyAgreement } from '../../services/peer-broker/raw-key-agreement.ts';
import type { Lie, Lies, Messages, Method, Wire } from '../helpers/lying-peer.ts';
import { silence } from '../helpers/lying-peer.ts';
import { edited } from '../helpers/message-edits.ts';
import type { CallPlan, LiePlan } from './conversation-plans.ts';
import type { World } from './world.ts';

type Client = ServiceClient<KeyAgreementDefinition>;
type AnyCall = (message: unknown, options: object) => Promise<unknown>;

/** Makes the calls of a plan; resolves when each is answered or given up. */
export async function makeCall(plan: CallPlan, world: World, connection: GrpcConnection): Promise<void> {
  const client =
    plan.what === 'bytes'
      ? (connection.client(rawKeyAgreement) as unknown as Client)
      : connection.client(KeyAgreementDefinition);
  const call = client[plan.method] as unknown as AnyCall;
  const once = async () => {
    // Made anew each time: where nobody's stream is named it is another one.
    const message = plan.what === 'bytes' ? Buffer.from(plan.bytes) : messageOf(plan, world);
    try {
      await call(message, optionsOf(plan, world));
      world.count(`peer ${plan.method}: answered`);
    } catch (error) {
      world.count(`peer ${plan.method}: ${error instanceof KeyweaveError ? error.reason : 'given up'}`);
    }
  };
  await Promise.all(Array.from({ length: plan.times }, once));
}

function optionsOf({ target, claims, deadline, patienceMs }: CallPlan, world: World): object {
  // Whose name would open most: the target's other partner, and the target itself.
  const other = world.nodes[1 - target]?.uuid ?? '';
  const metadata = Metadata({
    ...((claims === 'peer' || claims === 'both') && { [PEER_METADATA]: other }),
    ...((claims === 'caller' || claims === 'both') && {
      [CALLER_METADATA]: spiffeId('keyweave', other, 'peer-broker'),
    }),
    ...(deadline !== undefined && { [TIMEOUT_METADATA]: deadline }),
  });
  return {
    metadata,
    signal: AbortSignal.timeout(patienceMs),
    timeoutMs: deadline === undefined ? patienceMs : Number.POSITIVE_INFINITY,
  };
}

/** An honest message where one of the kind has been seen, else one made from nothing; then edited. */
function messageOf(plan: CallPlan, world: World): object {
  const { method, what, n, of, edits } = plan;
  const seen = world.wires.flatMap((wire) => wire.seen[method] as object[]);
  const template = what === 'seen' ? seen[n % Math.max(1, seen.length)] : seen.at(-1);
  const message = edited(template ?? fromNothing(method), []);
  if (what === 'made') {
    const keyStreamId = world.ksidBytes(of);
    renamed(message, keyStreamId, asBuffer(incarnationOf(keyStreamId, world)));
    if (method === 'open') Object.assign(message, world.urisFor(plan));
  }
  return edited(message, edits);
}

/** Names another stream wherever a message names one. */
function renamed(value: unknown, keyStreamId: Buffer, incarnation: Buffer): void {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return;
  if ('keyStreamId' in value) Object.assign(value, { keyStreamId, incarnation });
  for (const inner of Object.values(value)) renamed(inner, keyStreamId, incarnation);
}

/** That of the stream's last offer between any two nodes, so that nothing but who calls gives a lie away. */
function incarnationOf(keyStreamId: Uint8Array, world: World): Uint8Array {
  const offers = world.wires.flatMap(({ seen }) => seen.open);
  return (
    offers.findLast((offer) => asBuffer(offer.keyStreamId).equals(keyStreamId))?.incarnation ??
    Buffer.alloc(8, 1)
  );
}

function fromNothing(method: Method): object {
  const offer = {
    firstIndex: 0,
    count: 1,
    publicKeys: [{ slot: 0, publicKeys: Buffer.alloc(1184, 1) }],
    qkd: {
      ...{ epoch: 0, qkdKeyStreamId: '', position: 0n, blockKeys: 1 },
      keyNames: [Buffer.from('bc490419-7d60-487f-adc1-4ddcc177c139')],
    },
  };
  const confirmation = { firstIndex: 0, count: 1, initiatorTags: Buffer.alloc(32) };
  switch (method) {
    case 'open':
      return OpenRequest.fromPartial({
        protocolVersion: PROTOCOL_VERSION,
        method: 'kmac256',
        slots: [{ algorithm: 'QKD', sharedSecretBytes: 32 }],
        qos: { keyChunkSize: 32, timeoutMs: 1_000, ttlS: 5 },
      });
    case 'join':
      return JoinRequest.fromPartial({});
    case 'produce':
      return ProduceRequest.fromPartial({ offers: [offer], confirmations: [confirmation] });
    case 'confirm':
      return ConfirmRequest.fromPartial({ confirmations: [confirmation] });
    case 'demand':
      return DemandRequest.fromPartial({ demands: [{ count: 1, waitedFor: true }] });
    case 'close':
      return CloseRequest.fromPartial({});
  }
}

/** Has the wires lie as planned until `over` fires. */
export function tellLies(plans: readonly LiePlan[], wires: readonly Wire[], over: AbortSignal): void {
  wires.forEach((wire, i) => {
    const here = plans.filter((plan) => plan.wire % wires.length === i);
    wire.lies = Object.fromEntries(
      here.map((plan) => [
        plan.method,
        lieOf(
          here.filter(({ method }) => method === plan.method),
          wire,
          over,
        ),
      ]),
    ) as Lies;
  });
}

/** The first plan whose turn it is has its way with the call. */
function lieOf<M extends Method>(plans: readonly LiePlan[], wire: Wire, over: AbortSignal): Lie<M> {
  let calls = 0;
  let lastAnswer: Messages[M][1] | undefined;
  return async (request, pass, signal) => {
    calls += 1;
    const plan = plans.find(({ every }) => calls % every === 0);
    if (plan === undefined || over.aborted) {
      lastAnswer = await pass(request);
      return lastAnswer;
    }
    switch (plan.how) {
      case 'silence':
        return silence(AbortSignal.any([signal, over]));
      case 'refuse':
        throw new KeyweaveError(plan.about === 'request' ? 'PEER_UNREACHABLE' : 'UNKNOWN_STREAM', 'a lie');
      case 'repeat':
        await pass(request);
        return pass(request);
      case 'old answer':
        return lastAnswer ?? pass(request);
      case 'old request':
        return pass((wire.seen[plan.method][0] as Messages[M][0] | undefined) ?? request);
      case 'edit': {
        const sent = plan.about === 'response' ? request : edited(request as object, plan.edits);
        const answer = await pass(sent as Messages[M][0]);
        return (plan.about === 'request' ? answer : edited(answer as object, plan.edits)) as Messages[M][1];
      }
    }
  };
}
