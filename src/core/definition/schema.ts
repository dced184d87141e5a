import type { StandardSchemaV1 } from '@standard-schema/spec';
import type { Issue } from '../error.ts';
import type { Json } from '../json.ts';
import { cleanText } from '../text.ts';

/**
 * Returns the JSON Schema (draft 2020-12) of a schema's input from the library's own export
 * (https://standardschema.dev/json-schema); null if the library has no export or cannot export this schema.
 */
export function inputSchema(schema: StandardSchemaV1): Json {
  const exported: unknown = Reflect.get(schema['~standard'], 'jsonSchema');
  const input: unknown = typeof exported === 'object' && exported !== null ? Reflect.get(exported, 'input') : undefined;
  if (typeof input !== 'function') return null;
  try {
    return JSON.parse(JSON.stringify(input({ target: 'draft-2020-12' }))) as Json;
  } catch {
    return null; // the library cannot express this schema (a transform, a custom check); its own code still validates
  }
}

export function isSchema(value: unknown): value is StandardSchemaV1 {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false;
  const standard: unknown = Reflect.get(value, '~standard');
  if (typeof standard !== 'object' || standard === null) return false;
  return typeof Reflect.get(standard, 'validate') === 'function';
}

/** Limits of reported issues: 100 issues of one value; characters of the path and the message of each. */
const maxIssues = 100;
const maxPathLength = 256;
const maxIssueLength = 1024;

/** Formats the issues of a Standard Schema with paths such as `orders[3].amount`: the first 100, each truncated. */
export function issuesOf(issues: readonly StandardSchemaV1.Issue[]): Issue[] {
  return boundIssues(issues, (issue) => ({ path: pathText(issue.path ?? []), message: issue.message }));
}

/** Converts issues, each truncated, and at most 100: the last one counts those that are left out. */
export function boundIssues<T>(issues: readonly T[], issueOf: (issue: T) => Issue): Issue[] {
  const shown = issues.length > maxIssues ? maxIssues - 1 : issues.length;
  const bound = issues.slice(0, shown).map((issue) => {
    const { path, message } = issueOf(issue);
    return { path: cleanText(path, maxPathLength), message: cleanText(message, maxIssueLength) };
  });
  if (shown < issues.length) bound.push({ path: '', message: `and ${issues.length - shown} more` });
  return bound;
}

function pathText(path: readonly (PropertyKey | StandardSchemaV1.PathSegment)[]): string {
  let text = '';
  for (const segment of path) {
    const key = typeof segment === 'object' ? segment.key : segment;
    if (typeof key === 'number') text += `[${key}]`;
    else text += text === '' ? String(key) : `.${String(key)}`;
  }
  return text;
}
