import { parseArgs } from 'node:util';

/** What both examples are told of the node: how to reach it, and which two nodes the stream joins. */
const NODE_OPTIONS = {
  /** host:port of the own node's listener. */
  node: { type: 'string', default: '127.0.0.1:65430' },
  transport: { type: 'string', default: 'json' },
  ca: { type: 'string' },
  cert: { type: 'string' },
  key: { type: 'string' },
  /** UUIDs of the two nodes, the same at both ends. */
  source: { type: 'string', default: 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa' },
  destination: { type: 'string', default: 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb' },
};

/** The command line, with `more` options beside those of the node. */
export function readCommandLine(more = {}) {
  const { values, positionals } = parseArgs({
    options: { ...NODE_OPTIONS, ...more },
    allowPositionals: true,
  });
  const { transport, ca, cert, key } = values;
  const client = { transport, ...addressOf(values.node), ...(ca && { tls: { ca, cert, key } }) };
  /** Both ends open the stream of a name by the same URIs. */
  const uris = (name) => ({
    source: `hybrid://${name}@${values.source}`,
    destination: `hybrid://${name}@${values.destination}`,
  });
  return { values, positionals, client, uris };
}

export function addressOf(text = '') {
  const at = text.lastIndexOf(':');
  return { host: text.slice(0, at), port: Number(text.slice(at + 1)) };
}
