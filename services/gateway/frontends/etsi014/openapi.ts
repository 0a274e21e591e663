import { VERSION } from '#common/service/version.ts';
import type { Verb } from '../http/resources.ts';

/** JSON Schema of an object, as OpenAPI 3.0 has it. */
export interface ObjectSchema {
  readonly type: string;
  readonly properties: Readonly<Record<string, object>>;
  readonly required: readonly string[];
}

/** What one verb does to one resource. */
export interface Operation {
  readonly verb: Verb;
  readonly path: string;
  readonly summary: string;
  readonly operationId: string;
  /** Members of the path and of the query. */
  readonly params: ObjectSchema;
  readonly query?: ObjectSchema;
  readonly body?: ObjectSchema;
  /** By their codes: schemas of JSON with a description. */
  readonly responses: Readonly<Record<number, { readonly description: string }>>;
}

/** The OpenAPI document of the API. */
export function openApiOf(operations: readonly Operation[]): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const operation of operations) {
    const verb = operation.verb.toLowerCase();
    paths[operation.path] = { ...paths[operation.path], [verb]: described(operation) };
  }
  return {
    openapi: '3.0.3',
    info: {
      title: 'ETSI GS QKD 014 V1.1.1',
      description: 'Keys of the Keyweave hybridization module. Clients show a certificate (mutual TLS).',
      version: VERSION,
    },
    paths,
  };
}

function described({ operationId, summary, params, query, body, responses }: Operation): object {
  const parameters = [...(query ? parametersIn('query', query) : []), ...parametersIn('path', params)];
  const answers = Object.entries(responses).map(([code, schema]) => {
    const { description } = schema;
    return [code, { description, content: { 'application/json': { schema } } }] as const;
  });
  return {
    ...{ operationId, summary, parameters },
    ...(body && { requestBody: { required: true, content: { 'application/json': { schema: body } } } }),
    responses: Object.fromEntries(answers),
  };
}

function parametersIn(place: 'query' | 'path', { properties, required }: ObjectSchema): object[] {
  return Object.entries(properties).map(([name, property]) => {
    const { description, ...schema } = property as { readonly description?: string };
    return { name, in: place, required: required.includes(name), description, schema };
  });
}
