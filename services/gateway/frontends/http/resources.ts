import { JSON_TYPE } from './answers.ts';
import type { Query, RequestTarget } from './request-target.ts';

/** A call that has come in whole. */
export interface Call<C> {
  readonly caller: C;
  /** What stands in the path where the resource's has a name in braces, in its order. */
  readonly params: readonly string[];
  readonly query: Query;
  /** Of a POST, empty where none came. */
  readonly body: Buffer;
}

/**
 * Does a call: the JSON of the answer, which whoever sends it wipes.
 *
 * @throws whatever the server's `refusalOf` knows how to answer, at once or as the promise.
 */
export type Handler<C> = (call: Call<C>) => Buffer | Promise<Buffer>;

export type Verb = 'GET' | 'POST';

/** Something that is at a path. */
export interface Resource<C> {
  /** Such as `/keys/{id}`. */
  readonly path: string;
  /** Media type of what it gives; absent: JSON. */
  readonly type?: string;
  readonly handlers: Readonly<Partial<Record<Verb, Handler<C>>>>;
}

/** A resource that a path is of. */
export interface Found<C> {
  readonly params: readonly string[];
  /** Media type of what it gives. */
  readonly type: string;
  readonly handlers: ReadonlyMap<string, Handler<C>>;
  /** Its verbs, as the header Allow names them. */
  readonly allow: string;
}

interface Route<C> extends Omit<Found<C>, 'params'> {
  /** Undefined where any text may stand. */
  readonly segments: readonly (string | undefined)[];
}

/** What a server has, by paths. No path is of two of them. */
export class Resources<C> {
  readonly #routes: readonly Route<C>[];

  constructor(resources: readonly Resource<C>[]) {
    this.#routes = resources.map(({ path, type = JSON_TYPE, handlers }) => {
      const segments = path
        .slice(1)
        .split('/')
        .map((each) => (each.startsWith('{') ? undefined : each));
      const verbs = Object.entries(handlers) as [Verb, Handler<C>][];
      return { segments, type, handlers: new Map(verbs), allow: verbs.map(([verb]) => verb).join(', ') };
    });
  }

  find({ segments }: Pick<RequestTarget, 'segments'>): Found<C> | undefined {
    const route = this.#routes.find((each) => fits(each.segments, segments));
    if (!route) return undefined;
    const params = segments.filter((_each, i) => route.segments[i] === undefined);
    const { type, handlers, allow } = route;
    return { params, type, handlers, allow };
  }
}

function fits(route: readonly (string | undefined)[], segments: readonly string[]): boolean {
  return (
    route.length === segments.length &&
    route.every((each, i) => each === segments[i] || (each === undefined && segments[i] !== ''))
  );
}
