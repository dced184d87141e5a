import { createHash } from 'node:crypto';
import type { WorkflowSpec } from '../definition/spec.ts';
import { parseJson } from '../json.ts';
import type { Json } from '../json.ts';

/**
 * The key that executions under one limit share: those of a workflow, or those of them with the same value at a path of the
 * input (JSON text). Null if there is no limit.
 */
export function limitKey(
  { name, concurrency }: Pick<WorkflowSpec, 'name' | 'concurrency'>,
  from: string | null,
  tenant: string,
  input: string,
): string | null {
  if (concurrency === null) return null;
  const { key } = concurrency;
  const value = key === null ? null : valueAt(parseJson(input), key);
  return JSON.stringify([tenant, from, name, value]);
}

function valueAt(input: Json, path: string): Json {
  let value: unknown = input;
  for (const part of path.split('.')) {
    const isThere = typeof value === 'object' && value !== null && Object.hasOwn(value, part);
    value = isThere ? Reflect.get(value as object, part) : null;
  }
  const text = JSON.stringify(value);
  // the key is text in an index, so a long value is represented by its hash
  return text.length <= 200 ? (value as Json) : createHash('sha256').update(text).digest('hex');
}
