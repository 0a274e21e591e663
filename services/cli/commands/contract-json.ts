import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { findJsonError, parseJson } from '#common/json/parse-json.ts';

export type Json = Record<string, unknown>;

/**
 * The JSON objects of a text, one after the other, as the contract names their
 * fields; no text stands for an empty one.
 *
 * @throws KeyweaveError BAD_REQUEST, without the text: it may hold a secret.
 */
export function requestsIn(text: string): Json[] {
  if (text.trim() === '') return [{}];
  const requests: Json[] = [];
  for (let left = text; left.trim() !== ''; ) {
    // One object ends where what follows it cannot belong to it.
    const end = findJsonError(left) ?? left.length;
    const request = jsonIn(left.slice(0, end));
    if (typeof request !== 'object' || request === null || Array.isArray(request))
      throw new KeyweaveError('BAD_REQUEST', 'the request is not a JSON object, or several');
    requests.push(renamed(request, toContract) as Json);
    left = left.slice(end);
  }
  return requests;
}

/** An answer with its fields named as in JSON. */
export function asJson(answer: unknown): unknown {
  return renamed(answer, toJson);
}

function jsonIn(text: string): unknown {
  try {
    return parseJson(text, 'the request');
  } catch {
    return undefined;
  }
}

/** Fields as the contract names them: key_stream_id; in JSON they are keyStreamId, and may be either in a request. */
const toContract = (name: string) => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
const toJson = (name: string) => name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

function renamed(value: unknown, rename: (name: string) => string): unknown {
  if (Array.isArray(value)) return value.map((each) => renamed(each, rename));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [rename(name), renamed(inner, rename)]),
  );
}
