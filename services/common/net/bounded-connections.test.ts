import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { Server, Socket } from 'node:net';
import { describe, it } from 'node:test';
import { boundConnections, type ConnectionLimits } from './bounded-connections.ts';

/** A server to which whoever it says connects. */
function bounded(limits: ConnectionLimits) {
  const server = new EventEmitter() as Server;
  const refused: string[] = [];
  boundConnections(server, limits, (client) => refused.push(client));
  const connect = (remoteAddress: string) => {
    const socket = Object.assign(new EventEmitter(), {
      remoteAddress,
      destroy: () => (socket.isOut = true),
      isOut: false,
    });
    server.emit('connection', socket as unknown as Socket);
    return socket;
  };
  const taken = (address: string, count: number) =>
    Array.from({ length: count }, () => connect(address)).filter(({ isOut }) => !isOut).length;
  return { server, refused, connect, taken };
}

describe('the connections of a server', () => {
  it('are half of all from one network, so that it keeps nobody out; loopback has all', () => {
    const { taken, refused, server } = bounded({ max_connections: 5 });
    assert.equal(server.maxConnections, 5);
    assert.equal(taken('192.0.2.1', 5), 3);
    assert.deepEqual(refused, ['192.0.2.1', '192.0.2.1']);
    assert.equal(taken('::ffff:192.0.2.1', 1), 0);
    assert.equal(taken('2001:db8:1:2::1', 2) + taken('2001:db8:1:2:ffff::2', 2), 3);
    assert.equal(taken('2001:db8:1:3::1', 1), 1);
    for (const loopback of ['127.0.0.1', '127.1.2.3', '::1', '::ffff:127.0.0.2'])
      assert.equal(taken(loopback, 5), 5, loopback);
  });

  it('are as many from one network as the setting says, also on loopback', () => {
    const { taken, connect } = bounded({ max_connections: 5, max_connections_per_network: 2 });
    const first = connect('127.0.0.1');
    assert.equal(taken('127.0.0.1', 3), 1);
    first.emit('close');
    assert.equal(taken('127.0.0.1', 3), 1);
    assert.equal(taken('192.0.2.1', 3), 2);
  });
});
