/**
 * Expositions of several processes as one: Prometheus' text format wants all
 * samples of a metric together, below one HELP and TYPE. What tells the
 * processes apart are labels that their samples carry.
 */
export function mergedExposition(texts: readonly string[]): string {
  /** Comments and samples by metric, in the order of their coming. */
  const families = new Map<string, { comments: string[]; samples: string[] }>();
  for (const text of texts) {
    let family: { comments: string[]; samples: string[] } | undefined;
    let isFirst = true;
    for (const line of text.split('\n')) {
      const [, kind, name] = /^# (HELP|UNIT|TYPE) (\S+)/.exec(line) ?? [];
      if (kind === 'HELP' && name !== undefined) {
        isFirst = !families.has(name);
        family = families.get(name) ?? { comments: [], samples: [] };
        families.set(name, family);
      }
      if (!family || line === '') continue;
      if (!line.startsWith('#')) family.samples.push(line);
      else if (isFirst) family.comments.push(line);
    }
  }
  const lines = [...families.values()].flatMap(({ comments, samples }) => [...comments, ...samples]);
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}
