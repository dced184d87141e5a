import semver from 'semver';
import { z } from 'zod';
import { PackageInvalidError } from '../../core/error.ts';
import type { Problem } from '../../core/error.ts';
import type { Json } from '../../core/json.ts';
import { hasHidden, hasHiddenInText, maxNameLength } from '../../core/text.ts';
import type { WorkflowSpec } from '../../core/definition/spec.ts';
import type { Engine } from './engine-range.ts';
import { byPathBytes } from './entry-path.ts';
import { fileProblems, workflowProblems, workflowNameProblems } from './manifest-check.ts';
import { countProblems, maxProse, member, textProblem } from './manifest-limits.ts';
import { listProblems, maxListed, zodProblems } from './problems.ts';

/** The only version of the `.cloacina` format that this code writes and reads. */
export const formatVersion = 1;

/** The path of the bundled code in every package. */
export const entryPath = 'code/index.mjs';

/**
 * The permissions that the code of a package needs beyond its own folder; a runner grants them or does not run the
 * package (`grants.ts`).
 */
export interface Permissions {
  /** False: no network; true: all of it; or a list of hosts (`api.example.org` or `api.example.org:8443`). */
  readonly net: boolean | readonly string[];
  /** The environment variables that the code reads; no patterns, and none of Cloacina's own (`CLOACINA_*`). */
  readonly env: readonly string[];
  /** Files and folders of the runner's machine that the code reads. */
  readonly read: readonly string[];
  /** Files and folders of the runner's machine that the code writes. */
  readonly write: readonly string[];
}

/** `manifest.json`: everything a runner needs to own an execution without loading the code. */
export interface Manifest {
  readonly formatVersion: 1;
  readonly package: {
    readonly name: string;
    readonly version: string;
    readonly description: string | null;
    readonly authors: readonly string[];
    readonly license: string | null;
    readonly repository: string | null;
  };
  readonly engine: Engine;
  readonly entry: 'code/index.mjs';
  readonly workflows: readonly WorkflowSpec[];
  readonly permissions: Permissions;
  /** Every other file of the archive and its hex sha256. */
  readonly files: { readonly [path: string]: string };
}

const noHidden = 'it must not hold control characters or invisible ones';

const label = z
  .string()
  .min(1)
  .max(maxNameLength)
  .refine((text) => !hasHidden(text), noHidden);
/** A word for programs: a host, a path, a cron expression. */
const word = z
  .string()
  .max(500)
  .refine((text) => !hasHidden(text), noHidden);
/** A line for people. */
const line = z
  .string()
  .max(500)
  .refine((text) => !hasHiddenInText(text, 'line'), noHidden);
const prose = z
  .string()
  .max(maxProse)
  .refine((text) => !hasHiddenInText(text, 'prose'), noHidden)
  .nullable();
const ms = z.int().nonnegative();
const count = z.int().positive();
const json = z.custom<Json>((value) => value !== undefined);

/** The name of a package: npm's rules, scope included, so that it can be the name in `package.json`. */
export const packageName: z.ZodType<string> = z
  .string()
  .max(214)
  .regex(
    /^(@[a-z0-9][\w.-]*\/)?[A-Za-z0-9][\w.-]*$/,
    "it must be letters, digits, '_', '-' and '.', with a scope or without",
  );

/** An exact version, without `v` and without build metadata: two spellings of one version would be two versions. */
export const packageVersion: z.ZodType<string> = z
  .string()
  .max(256)
  .refine((text) => semver.valid(text) === text, "it must be a version such as '1.0.0' or '1.0.0-beta.1'");

const range = z
  .string()
  .max(500)
  .refine((text) => semver.validRange(text) !== null, "it must be a version range such as '>=24.15' or '^0.1.0'");

export const permissionsSchema: z.ZodType<Permissions> = z.strictObject({
  net: z.union([z.boolean(), z.array(word)], 'it must be true, false or a list of hosts'),
  env: z.array(
    label
      .regex(/^[^=\s*,]+$/, 'it must be the name of an environment variable')
      .regex(/^(?!cloacina_)/i, 'it must not be a name of Cloacina itself, CLOACINA_*: packages never receive those'),
  ),
  read: z.array(word.min(1)),
  write: z.array(word.min(1)),
});

/** The version ranges that an author may set. */
export const engineRanges: z.ZodType<Pick<Engine, 'cloacina' | 'node'>> = z.strictObject({
  cloacina: range,
  node: range,
});

const engine: z.ZodType<Engine> = z.strictObject({ guestApi: count.optional(), cloacina: range, node: range });

const need = z.strictObject({ task: label, settled: z.boolean() });

const retry = z.strictObject({
  attempts: count,
  backoff: z.enum(['exponential', 'linear', 'fixed']),
  delay: ms,
  maxDelay: ms,
  jitter: z.number().min(0).max(1),
  when: z.boolean(),
});

const task = z.strictObject({
  name: label,
  kind: z.enum(['task', 'map', 'child', 'sleep', 'wait']),
  description: prose,
  needs: z.record(label, need),
  when: z.boolean(),
  timeout: ms.nullable(),
  queue: label.nullable(),
  retry: retry.nullable(),
  map: z.strictObject({ concurrency: count.nullable(), settled: z.boolean() }).nullable(),
  child: z.strictObject({ workflow: label }).nullable(),
  sleep: z
    .union(
      [z.strictObject({ for: ms }), z.strictObject({ until: z.literal(true) })],
      'it must be { for: milliseconds } or { until: true }',
    )
    .nullable(),
  wait: z.strictObject({ signal: label, schema: json, timeout: ms.nullable() }).nullable(),
});

const schedule = z.strictObject({
  name: label,
  input: json,
  cron: word.nullable(),
  every: count.nullable(),
  at: z.int().nullable(),
  timezone: label,
  startAt: z.int().nullable(),
  endAt: z.int().nullable(),
  jitter: ms,
  overlap: z.enum(['skip', 'buffer_one', 'allow', 'cancel_other']),
  catchup: z.enum(['latest', 'skip', 'all']),
  max: count,
  window: ms,
  paused: z.boolean(),
});

const workflow: z.ZodType<WorkflowSpec> = z.strictObject({
  name: z
    .string()
    .max(200)
    .regex(/^[A-Za-z0-9_][\w.-]*$/, "it must be 1 to 200 letters, digits, '_', '-' or '.'"),
  description: prose,
  input: json,
  output: need.nullable(),
  failFast: z.boolean(),
  concurrency: z.strictObject({ limit: count, key: label.nullable() }).nullable(),
  retention: ms.nullable(),
  fingerprint: label,
  tasks: z.array(task),
  schedules: z.array(schedule),
});

const files = z.record(z.string(), z.string().regex(/^[0-9a-f]{64}$/, 'it must be a sha256 in hex'));

/** The manifest without its workflows, which are checked one by one. */
const manifestSchema: z.ZodType<Omit<Manifest, 'workflows'>> = z.strictObject({
  formatVersion: z.literal(formatVersion),
  package: z.strictObject({
    name: packageName,
    version: packageVersion,
    description: prose,
    authors: z.array(line),
    license: word.nullable(),
    repository: word.nullable(),
  }),
  engine,
  entry: z.literal(entryPath),
  workflows: z.array(z.unknown()).min(1, 'it must name at least one workflow'),
  permissions: permissionsSchema,
  files,
});

/**
 * Parses and checks the text of a `manifest.json`. Throws FORMAT_UNSUPPORTED for another format version, otherwise
 * MANIFEST_INVALID: with the exceeded limits, or with the first 100 problems: schema violations, then duplicate names,
 * unknown needs, cycles, fields that do not fit a task's kind, and paths that an archive refuses.
 */
export function parseManifest(text: string): Manifest {
  const value = parseText(text);
  checkFormat(value);
  const over = countProblems(value);
  if (over.length > 0) throw invalid(over);
  const result = manifestSchema.safeParse(value, { reportInput: true });
  const problems = result.success ? [] : zodProblems(result.error);
  const workflows = checkWorkflows(member(value, 'workflows'), problems);
  const listed = member(value, 'files');
  if (typeof listed === 'object' && listed !== null && !Array.isArray(listed)) {
    add(problems, fileProblems(Object.keys(listed), entryPath));
  }
  if (problems.length > 0) throw invalid(problems);
  if (!result.success) throw invalid([{ code: 'BAD_VALUE', path: '', message: 'it does not fit the schema' }]);
  const ordered = Object.entries(result.data.files).toSorted(([a], [b]) => byPathBytes(a, b));
  // the schema keeps the position of the workflows among the keys
  return { ...result.data, workflows, files: Object.fromEntries(ordered) };
}

/**
 * Returns the canonical text of a manifest: keys in the order of the schema, files in the order of the archive, an
 * indent of two spaces, a line end.
 */
export function formatManifest(manifest: Manifest): string {
  return `${JSON.stringify(manifest, null, 2)}\n`;
}

/** Returns the file name of a packed package: `@shop/daily-load` 1.0.0 -> `shop-daily-load-1.0.0.cloacina`. */
export function packageFileName(name: string, version: string): string {
  return `${name.replace('@', '').replace('/', '-')}-${version}.cloacina`;
}

function parseText(text: string): unknown {
  const problem = textProblem(text);
  if (problem !== null) throw invalid([problem]);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw invalid([{ code: 'NOT_JSON', path: '', message: `it is not JSON: ${String(cause)}` }], cause);
  }
}

function checkFormat(value: unknown): void {
  const found = member(value, 'formatVersion');
  if (found === undefined || found === formatVersion) return;
  const reason = `it has format version ${JSON.stringify(found)}, and this cloacina reads ${formatVersion}`;
  throw new PackageInvalidError('FORMAT_UNSUPPORTED', `the archive cannot be read: ${reason}`, {
    path: 'formatVersion',
    reason,
  });
}

/**
 * Checks each workflow against its schema, and if it fits, against the rules that a schema cannot express: one bad
 * workflow hides no problem of the rest. Stops once there are more problems than are listed, since each costs memory.
 */
function checkWorkflows(parts: unknown, problems: Problem[]): WorkflowSpec[] {
  if (!Array.isArray(parts)) return [];
  const workflows: WorkflowSpec[] = [];
  for (const [index, part] of parts.entries()) {
    if (problems.length > maxListed) return workflows;
    const at = `workflows[${index}]`;
    const spec = workflow.safeParse(part, { reportInput: true });
    if (spec.success) {
      workflows.push(spec.data);
      add(problems, workflowProblems(spec.data, at));
    } else add(problems, zodProblems(spec.error, at));
  }
  const names = parts.map((part) => member(part, 'name'));
  add(problems, workflowNameProblems(names));
  return workflows;
}

/** Up to 50,000 problems exceed the number of arguments that a spread call can take. */
function add(problems: Problem[], more: readonly Problem[]): void {
  problems.push(...more.slice(0, maxListed + 1));
}

function invalid(found: readonly Problem[], cause?: unknown): PackageInvalidError {
  const { problems, text } = listProblems(found);
  return new PackageInvalidError('MANIFEST_INVALID', `manifest.json is not valid: ${text}`, {
    path: 'manifest.json',
    problems,
    cause,
  });
}
