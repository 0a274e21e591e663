import type { QkdDriver } from '../../services/qkd-source/drivers/qkd-driver.ts';

/**
 * Two drivers whose key managers name their keys, as two that number those of a
 * stream: what `a` takes `b` finds by the names, as the gateways have it.
 */
export function numbered(a: QkdDriver, b: QkdDriver): [QkdDriver, QkdDriver] {
  const nameOf = (stream: { keyStreamId: string; epoch: number }) => `${stream.keyStreamId}/${stream.epoch}`;
  /** The driver's own handles. */
  const handles = new Map<string, string>();
  const opening = (driver: QkdDriver): QkdDriver['open'] => {
    return async (stream, keyBytes, join, signal) => {
      handles.set(nameOf(stream), await driver.open(stream, keyBytes, handles.get(join) ?? '', signal));
      return nameOf(stream);
    };
  };
  const handleOf = (name: string) => handles.get(name) ?? name;
  /** Names of keys, which `b` may ask for before `a` has taken them. */
  const names = new Map<string, PromiseWithResolvers<Buffer>>();
  const slot = (name: string, number: bigint) => {
    const key = `${name}#${number}`;
    const known = names.get(key) ?? Promise.withResolvers<Buffer>();
    names.set(key, known);
    return known;
  };
  return [
    {
      ...a,
      open: opening(a),
      fetch: async (name, first, count, keyBytes, signal) => {
        if (!a.named) throw new Error('the driver names no keys');
        const taken = await a.named.take(handleOf(name), count, keyBytes, signal);
        for (const [i, key] of taken.names.entries()) slot(name, first + BigInt(i)).resolve(key);
        return taken.keys;
      },
    },
    {
      ...b,
      open: opening(b),
      fetch: async (name, first, count, keyBytes, signal) => {
        if (!b.named) throw new Error('the driver names no keys');
        const wanted = Array.from({ length: count }, (_, i) => slot(name, first + BigInt(i)).promise);
        return b.named.find(handleOf(name), await Promise.all(wanted), keyBytes, signal);
      },
    },
  ];
}
