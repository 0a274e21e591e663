/**
 * The DER of every block of a PEM text with that label, e.g. CERTIFICATE, in
 * the order of the file; what stands between the blocks is left aside, as
 * openssl does.
 *
 * @throws Error where a block has no end.
 */
export function pemBlocks(text: string, label: string): Buffer[] {
  const begin = `-----BEGIN ${label}-----`;
  const end = `-----END ${label}-----`;
  const blocks: Buffer[] = [];
  for (let at = text.indexOf(begin); at >= 0; at = text.indexOf(begin, at)) {
    const from = at + begin.length;
    const to = text.indexOf(end, from);
    if (to < 0) throw new Error(`a block of PEM has no ${end}`);
    blocks.push(Buffer.from(text.slice(from, to), 'base64'));
    at = to + end.length;
  }
  return blocks;
}
