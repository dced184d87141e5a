import { z } from 'zod';
import { issuesOf } from './schema.ts';
import type { Issue } from './error.ts';
import type { Json } from './json.ts';

/**
 * What in a value does not fit a JSON Schema, with paths; nothing where there is no schema, or one that cannot be
 * checked here: the schema's own code judges before the first task in any case.
 */
export function jsonSchemaIssues(schema: Json, value: Json): Issue[] {
  const check = checkOf(schema);
  if (check === null) return [];
  const result = check.safeParse(value);
  return result.success ? [] : issuesOf(result.error.issues);
}

const checks = new WeakMap<object, z.ZodType | null>();

function checkOf(schema: Json): z.ZodType | null {
  if (typeof schema !== 'object' || schema === null) return null;
  let check = checks.get(schema);
  if (check === undefined) {
    check = compile(schema as z.core.JSONSchema.JSONSchema);
    checks.set(schema, check);
  }
  return check;
}

function compile(schema: z.core.JSONSchema.JSONSchema): z.ZodType | null {
  try {
    return z.fromJSONSchema(schema);
  } catch {
    return null; // a keyword that the library does not know
  }
}
