import { join } from 'node:path';

/** Notes a change of config.json that is refused, by what it is, the key that is at fault and the words. */
type Wrong = (what: string, key: string, words: RegExp, change: Record<string, unknown>) => unknown;

/** Sections `telemetry` that must stop a start. */
export function wrongTelemetry(
  wrong: Wrong,
  { folder, caPath, elsewhere }: { folder: string; caPath: string; elsewhere: string },
): void {
  const https = 'https://192.0.2.9:4318';
  const otlp = (endpoint: string, change: object = {}) => ({ telemetry: { otlp: { endpoint, ...change } } });
  const endpoint = 'telemetry.otlp.endpoint';
  wrong('telemetry in plain text', endpoint, /must be https/, otlp('http://192.0.2.9:4318'));
  wrong('a collector that is no URL', endpoint, /must be a URL/, otlp('192.0.2.9:4318'));
  wrong('a collector with a password', endpoint, /without user/, otlp('https://a:b@192.0.2.9:4318'));
  const caKey = 'telemetry.otlp.ca_path';
  wrong("a collector's CA that is missing", caKey, /no such file/, otlp(https, { ca_path: elsewhere }));
  const half = otlp(https, { cert_path: caPath });
  const certKey = 'telemetry.otlp.cert_path';
  wrong('a certificate for the collector without its key', certKey, /needs a key_path/, half);
  const ratio = 'telemetry.traces.sample_ratio';
  wrong('more than all that is traced', ratio, /<=1/, { telemetry: { traces: { sample_ratio: 2 } } });
  wrong('traces for nobody', 'telemetry.traces', /go nowhere/, { telemetry: { traces: {} } });
  const audit = (filename: string) => ({ telemetry: { audit: { filename } } });
  const auditKey = 'telemetry.audit.filename';
  wrong('an audit log that is a folder', auditKey, /is a folder/, audit(folder));
  const filename = join(folder, 'node.log');
  wrong('an audit log that is the log', auditKey, /is the file of logging_config/, {
    logging_config: { file_log_type: 'info', filename },
    ...audit(filename),
  });
}
