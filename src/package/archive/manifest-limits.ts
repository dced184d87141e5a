import type { Problem } from '../../core/error.ts';

/** Maximum size of a manifest, bytes of UTF-8. The manifest of a chain of 10,000 tasks has 4 MB. */
export const maxManifestBytes: number = 16 * 1024 * 1024;

/** Maximum nesting of objects and lists. A manifest without the JSON Schemas of its inputs has 8 levels. */
const maxNesting = 200;

/**
 * Maximum number of values of a manifest: objects, lists and their members. A manifest of 10,000 tasks with 50,000
 * needs has 340,000.
 */
const maxValues = 500_000;

/**
 * Maximum number of members of the lists of a manifest. `tasks`, `needs` and `schedules` are counted over all
 * workflows.
 */
const limits = {
  workflows: 5000,
  tasks: 10_000,
  needs: 50_000,
  schedules: 1000,
  /** With `manifest.json` this is the maximum of 10,000 entries of an archive. */
  files: 9999,
  authors: 100,
  /** Of each kind. */
  permissions: 1000,
} as const;

/** Maximum length of a description, characters. */
export const maxProse = 10_000;

/**
 * Returns the reason for which a text is not parsed: it is too long, too deep, or has too many values. The text is
 * scanned before an object is made: a file of 43 kB can unpack to a million workflows, and each problem with each of
 * them costs memory.
 */
export function textProblem(text: string): Problem | null {
  if (Buffer.byteLength(text) > maxManifestBytes) return tooLong();
  const { deepest, values } = shape(text);
  if (deepest > maxNesting) {
    return { code: 'TOO_DEEP', path: '', message: `it is nested more than ${maxNesting} levels deep` };
  }
  if (values > maxValues) return tooMany('', 'values', maxValues);
  return null;
}

export function tooLong(): Problem {
  return { code: 'TOO_LARGE', path: '', message: `it has more than ${maxManifestBytes} bytes` };
}

/** Returns the lists that exceed their limits; runs before their members are checked one by one. */
export function countProblems(value: unknown): Problem[] {
  const workflows = listOf(member(value, 'workflows'));
  if (workflows.length > limits.workflows) return [tooMany('workflows', 'workflows', limits.workflows)];
  const tasks = workflows.flatMap((workflow) => listOf(member(workflow, 'tasks')));
  const counts: readonly (readonly [string, string, number, number])[] = [
    ['workflows', 'tasks in all', tasks.length, limits.tasks],
    ['workflows', 'needs in all', sum(tasks, (task) => size(member(task, 'needs'))), limits.needs],
    ['workflows', 'schedules in all', sum(workflows, (one) => size(member(one, 'schedules'))), limits.schedules],
    ['files', 'files', size(member(value, 'files')), limits.files],
    ['package.authors', 'authors', size(member(member(value, 'package'), 'authors')), limits.authors],
    ...Object.entries(recordOf(member(value, 'permissions'))).map(
      ([kind, list]) => [`permissions.${kind}`, 'entries', size(list), limits.permissions] as const,
    ),
  ];
  return counts.flatMap(([path, what, count, limit]) => (count > limit ? [tooMany(path, what, limit)] : []));
}

function tooMany(path: string, what: string, limit: number): Problem {
  return { code: 'TOO_MANY', path, message: `it has more than ${limit} ${what}` };
}

/** Each value but the first of an object or list follows a comma; the first follows the opening bracket. */
function shape(text: string): { readonly deepest: number; readonly values: number } {
  let [depth, deepest, values] = [0, 0, 0];
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (char === '"') at = stringEnd(text, at);
    else if (char === ',') values++;
    else if (char === '{' || char === '[') {
      values++;
      deepest = Math.max(deepest, ++depth);
    } else if (char === '}' || char === ']') depth--;
  }
  return { deepest, values };
}

function stringEnd(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return at;
}

function size(value: unknown): number {
  return Array.isArray(value) ? value.length : Object.keys(recordOf(value)).length;
}

function sum(list: readonly unknown[], count: (one: unknown) => number): number {
  return list.reduce<number>((total, one) => total + count(one), 0);
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function recordOf(value: unknown): object {
  return typeof value === 'object' && value !== null ? value : {};
}

/** Returns an own property of an object; undefined for any other value. */
export function member(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, key) ? Reflect.get(value, key) : undefined;
}
