import type { ServiceContext } from '#common/service/service-context.ts';
import type { ObservedStream } from '../../streams/held/holdings.ts';
import type { StreamListener } from '../../streams/stream-events.ts';
import type { FrontEnd } from '../frontend.ts';
import type { ShownParts } from './frontend.ts';

/** The console of a gateway, where one is configured; its modules are loaded only then. */
export interface ConfiguredConsole {
  readonly listeners: readonly StreamListener[];
  /** Undefined where none is configured. @throws KeyweaveError BAD_CONFIG naming the setting that keeps it shut. */
  start(shown: Omit<ShownParts, 'streams'>): Promise<FrontEnd | undefined>;
}

/** @param streams all that there are. */
export async function configuredConsole(
  context: ServiceContext,
  streams: () => Iterable<ObservedStream>,
): Promise<ConfiguredConsole> {
  const settings = context.config.listeners.console;
  if (!settings) return { listeners: [], start: async () => undefined };
  const { startConsole, StreamWatch } = await import('./frontend.ts');
  const watch = new StreamWatch(streams);
  return {
    listeners: [watch],
    start: (shown) => startConsole(context, settings, { ...shown, streams: watch }),
  };
}
