/**
 * A stream's name for logs and messages: the first 8 digits of its
 * Key_stream_ID. Whoever knows the whole of one may read the stream's keys where
 * applications have no identity, so that nothing that is kept holds it; 8
 * digits find a stream again in the logs of both nodes.
 */
export function shortKsid(ksid: string): string {
  return ksid.slice(0, 8);
}
