type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Whether lines on `stream` are coloured: on terminals, and nowhere else,
 * unless the environment says otherwise. FORCE_COLOR goes before NO_COLOR, as
 * it does in Node itself; an empty variable says nothing.
 */
export function consoleColours(stream: { isTTY?: boolean }, environment: Environment = process.env): boolean {
  const { FORCE_COLOR: force, NO_COLOR: no, TERM: terminal } = environment;
  if (force) return force !== '0' && force.toLowerCase() !== 'false';
  return !no && terminal !== 'dumb' && stream.isTTY === true;
}
