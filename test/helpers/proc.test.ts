import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { describe, it } from 'node:test';
import { childrenOf, cpuMs, isAlive, memoryOf, rssMb, servicePid, socketsOf, waitedMs } from './proc.ts';

describe('what the kernel tells of a process', () => {
  it('counts CPU time that is spent, in milliseconds', () => {
    const before = cpuMs(process.pid);
    const began = process.cpuUsage();
    let used = { user: 0, system: 0 };
    while (used.user + used.system < 100_000) used = process.cpuUsage(began);
    const spent = cpuMs(process.pid) - before;
    assert.ok(spent >= 80 && spent < 400, `${spent} ms`);
  });

  it('counts memory that is taken, in megabytes, and tells own memory from shared', () => {
    const before = memoryOf(process.pid);
    const taken = Buffer.alloc(64 * 1_048_576, 1);
    const after = memoryOf(process.pid);
    assert.ok(after.anonymousMb - before.anonymousMb > 56, 'anonymous memory');
    assert.ok(after.rssMb >= after.pssMb && after.rssMb >= after.anonymousMb);
    assert.ok(Math.abs(rssMb(process.pid) - after.rssMb) < 32, 'both files tell the same resident memory');
    assert.equal(taken[0], 1);
  });

  it('finds children and services by their command lines, and knows when they have ended', async () => {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)', 'hybridizer']);
    await once(child, 'spawn');
    const pid = child.pid as number;
    assert.ok(childrenOf(process.pid).includes(pid));
    assert.equal(servicePid(process.pid, 'hybridizer'), pid);
    assert.throws(() => servicePid(process.pid, 'gateway'), /gateway is not running/);
    assert.equal(isAlive(pid), true);
    child.kill('SIGKILL');
    await once(child, 'exit');
    assert.equal(isAlive(pid), false);
  });

  it('counts sockets', async () => {
    const before = socketsOf(process.pid);
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    assert.equal(socketsOf(process.pid), before + 1);
    server.close();
  });

  it('leaves out the waiting of processes that are gone', () => {
    const own = waitedMs([process.pid]);
    assert.ok(own >= 0 && waitedMs([process.pid, 2 ** 22 + 1]) >= own);
  });
});
