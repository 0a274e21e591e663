import type { ServiceContext } from '#common/service/service-context.ts';
import type { KeyDelivery } from '../delivery/key-delivery.ts';
import type { StreamEvents, StreamListener } from '../streams/stream-events.ts';
import { AuditLog } from './audit-log.ts';
import { AuditedDelivery } from './audited-delivery.ts';

/** The audit log of a gateway, where one is configured. */
export interface ConfiguredAudit {
  readonly listeners: readonly StreamListener[];
  delivery(inner: KeyDelivery, events: StreamEvents): KeyDelivery;
  close(): void;
}

/** @throws KeyweaveError BAD_CONFIG when its file cannot be opened. */
export function configuredAudit(context: ServiceContext): ConfiguredAudit {
  const { config, log, telemetry, onReopenLogs } = context;
  const settings = config.telemetry?.audit;
  if (!settings) return { listeners: [], delivery: (inner) => inner, close: () => undefined };
  const audit = new AuditLog({ nodeUuid: config.uuid, filename: settings.filename, log });
  onReopenLogs?.(() => audit.reopen());
  telemetry?.meter
    .createObservableCounter('keyweave_audit_write_failures_total', {
      description: 'Lines of the audit log that could not be written. Must stay 0',
    })
    .addCallback((result) => result.observe(audit.failures));
  return {
    listeners: [audit],
    delivery: (inner, events) =>
      new AuditedDelivery(inner, { audit, whenUnwritable: settings.when_unwritable, events }),
    close: () => audit.close(),
  };
}
