import type { KeyStream } from '../streams/key-stream.ts';
import type { InitiatorProducer } from './initiator/initiator-producer.ts';
import type { ResponderProducer } from './responder/responder-producer.ts';

/** What makes the chunks of one end, by its role. */
export type EndProducer = InitiatorProducer | ResponderProducer;

/** One end of a key stream, with what makes its chunks. */
export type EndStream = KeyStream<EndProducer>;
