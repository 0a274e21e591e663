import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type { ServiceName } from '#common/config/node-config.ts';

/** What the kernel tells of processes (proc(5)), for every test and benchmark. Linux only. */

/** The kernel's unit of CPU time in `stat`, milliseconds. */
const TICK_MS = 10;

const read = (pid: number, file: string) => readFileSync(`/proc/${pid}/${file}`, 'latin1');

/** What follows the command in `stat`, which may hold blanks and brackets itself; the first is field 3. */
function statFields(pid: number): string[] {
  const text = read(pid, 'stat');
  return text.slice(text.lastIndexOf(') ') + 2).split(' ');
}

/** Whether the process runs; one that has ended and that nobody has waited for does not. */
export function isAlive(pid: number): boolean {
  try {
    return statFields(pid)[0] !== 'Z';
  } catch {
    return false;
  }
}

/** CPU time of a process and all its threads so far, milliseconds; counted in ticks of 10 ms. */
export function cpuMs(pid: number): number {
  const fields = statFields(pid);
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}

/** Resident memory of a process, MB. */
export function rssMb(pid: number): number {
  return megabytes(read(pid, 'status'), 'VmRSS');
}

/** Memory of a process, MB. */
export interface ProcessMemory {
  readonly rssMb: number;
  /** Its share of what it has in common with others, such as the code of the run time, and all that is its own. */
  readonly pssMb: number;
  /** What no file backs: heaps, stacks, buffers. */
  readonly anonymousMb: number;
}

export function memoryOf(pid: number): ProcessMemory {
  const text = read(pid, 'smaps_rollup');
  return {
    rssMb: megabytes(text, 'Rss'),
    pssMb: megabytes(text, 'Pss'),
    anonymousMb: megabytes(text, 'Anonymous'),
  };
}

function megabytes(text: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1]) / 1024;
}

/**
 * Milliseconds that the main threads of processes have altogether been ready
 * and not run so far, as the kernel counts; 0 where it does not tell.
 */
export function waitedMs(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    try {
      return sum + Number(read(pid, 'schedstat').split(' ')[1]) / 1e6;
    } catch {
      return sum;
    }
  }, 0);
}

/** Open sockets of a process. */
export function socketsOf(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).filter((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith('socket:');
    } catch {
      return false;
    }
  }).length;
}

/** Processes that the main thread of another has started. */
export function childrenOf(pid: number): number[] {
  return read(pid, `task/${pid}/children`).trim().split(' ').filter(Boolean).map(Number);
}

/**
 * The live process of a node's service, found by its parent and command line,
 * since a restart changes its id.
 *
 * @param supervisor process of `keyweave node`.
 */
export function servicePid(supervisor: number | undefined, service: ServiceName): number {
  const pid = childrenOf(supervisor as number).find((child) => {
    try {
      return read(child, 'cmdline').split('\0').includes(service);
    } catch {
      return false;
    }
  });
  if (pid === undefined) throw new Error(`${service} is not running`);
  return pid;
}
