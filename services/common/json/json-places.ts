/** Where the keys of a JSON text stand. Lines count from 1. */
export interface JsonPlaces {
  /** The line of what `path` names, or of the nearest thing around it that is there. */
  lineOf(path: readonly PropertyKey[]): number;
  /** Keys that stand more than once in one object, of which the last one would count. */
  readonly duplicates: readonly { readonly path: readonly string[]; readonly lines: readonly number[] }[];
}

/** A string, one sign of the structure, or any other value. */
const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;

/** What lies deeper is told by the line of what it lies in. */
const MAX_DEPTH = 16;

interface Frame {
  readonly path: readonly string[];
  /** Lines of each key, in an object; undefined in a list. */
  readonly keys: Map<string, number[]> | undefined;
  /** Key or index of the value that comes next. */
  at: string;
  index: number;
  expectsKey: boolean;
}

/** Finds the places in a text that JSON.parse takes. */
export function jsonPlaces(text: string): JsonPlaces {
  const lines = new Map<string, number>();
  const duplicates: { path: string[]; lines: number[] }[] = [];
  const frames: Frame[] = [];
  let line = 1;
  let counted = 0;

  const close = () => {
    const frame = frames.pop();
    for (const [key, found] of frame?.keys ?? []) {
      if (found.length > 1) duplicates.push({ path: [...(frame?.path ?? []), key], lines: found });
    }
  };
  /** A value begins. */
  const value = (frame: Frame | undefined): readonly string[] => {
    const path = frame ? [...frame.path, frame.at].slice(0, MAX_DEPTH) : [];
    if (frame && !frame.keys) lines.set(idOf(path), line);
    return path;
  };

  for (const { 0: token, index } of text.matchAll(TOKEN)) {
    for (; counted < index; counted++) if (text[counted] === '\n') line += 1;
    const frame = frames.at(-1);
    if (token === '{' || token === '[') {
      const path = value(frame);
      const isObject = token === '{';
      frames.push({ path, keys: isObject ? new Map() : undefined, at: '0', index: 0, expectsKey: isObject });
    } else if (token === '}' || token === ']') close();
    else if (token === ',' && frame) {
      frame.expectsKey = frame.keys !== undefined;
      frame.index += 1;
      if (!frame.keys) frame.at = String(frame.index);
    } else if (frame?.keys && frame.expectsKey) {
      frame.at = JSON.parse(token) as string;
      frame.expectsKey = false;
      frame.keys.set(frame.at, [...(frame.keys.get(frame.at) ?? []), line]);
      lines.set(idOf([...frame.path, frame.at]), line);
    } else if (token !== ':') value(frame);
  }

  return {
    duplicates,
    lineOf(path) {
      for (let length = path.length; length > 0; length--) {
        const found = lines.get(idOf(path.slice(0, length).map(String)));
        if (found !== undefined) return found;
      }
      return 1;
    },
  };
}

function idOf(path: readonly string[]): string {
  return JSON.stringify(path);
}
