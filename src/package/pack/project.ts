import { readdir, readFile, realpath, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join, posix, resolve } from 'node:path';
import { z } from 'zod';
import { errnoOf } from '../../core/errno.ts';
import { CloacinaError, OptionInvalidError } from '../../core/error.ts';
import { makeFolder } from '../../store/sqlite/folder.ts';
import { defaultEngine, ownRange } from '../archive/engine-range.ts';
import { engineRanges, packageName, packageVersion, permissionsSchema } from '../archive/manifest.ts';
import type { Manifest } from '../archive/manifest.ts';
import { listProblems, zodProblems } from '../archive/problems.ts';
import { projectTemplate } from './project-template.ts';

/** A folder that can be packed, as described by its `package.json`. */
export interface Project {
  /** Absolute, symbolic links resolved. */
  readonly dir: string;
  readonly package: Manifest['package'];
  /** The path of the module that exports the workflows: relative to `dir`, with `/`. */
  readonly entry: string;
  /** Patterns of files that the code reads: relative to `dir`, with `/`. */
  readonly files: readonly string[];
  readonly engine: Manifest['engine'];
  readonly permissions: Manifest['permissions'];
}

const person = z.union([
  z.string(),
  z.object({ name: z.string(), email: z.string().optional(), url: z.string().optional() }),
]);

const noPermissions = { net: false, env: [], read: [], write: [] };

const permissions = z.preprocess((given) => withDefaults(noPermissions, given), permissionsSchema);
const engine = z.preprocess((given) => withDefaults(defaultRanges(), given), engineRanges);

const packageJson = z.object({
  name: packageName,
  version: packageVersion,
  description: z.string().optional(),
  author: person.optional(),
  contributors: z.array(person).optional(),
  license: z.string().optional(),
  repository: z.union([z.string(), z.object({ url: z.string() })]).optional(),
  cloacina: z.strictObject({
    entry: z.string().refine(isInside, 'it must be a path inside the project, such as "src/index.ts"'),
    files: z
      .array(z.string().refine(isRelative, 'it must be a relative path or pattern, such as "src/templates/**"'))
      .optional(),
    permissions: permissions.optional(),
    engine: engine.optional(),
  }),
});

/**
 * Reads the `package.json` of a project: `name`, `version`, `description`, `author`, `contributors`, `license`,
 * `repository`, and the closed object `"cloacina": { entry, files?, permissions?, engine? }`. Omitted permissions are not
 * requested; `engine` defaults to this version or a later one, and the Node it needs. Throws FILE_UNREADABLE for an
 * unreadable folder, PROJECT_INVALID with all problems.
 */
export async function readProject(dir: string): Promise<Project> {
  const folder = await realFolder(dir);
  const text = await readFile(join(folder, 'package.json'), 'utf8').catch((cause: unknown) => {
    const missing = `there is no readable package.json in ${folder}; \`cloacina package new DIR\` creates a project`;
    throw new CloacinaError('PROJECT_INVALID', missing, { cause });
  });
  const parsed = packageJson.safeParse(parseText(text, folder), { reportInput: true });
  if (!parsed.success) {
    const found = listProblems(zodProblems(parsed.error));
    throw new CloacinaError('PROJECT_INVALID', `package.json in ${folder} cannot be packed: ${found.text}`);
  }
  const json = parsed.data;
  const entry = posix.normalize(json.cloacina.entry.replaceAll('\\', '/'));
  const isFile = await stat(join(folder, entry)).then(
    (found) => found.isFile(),
    () => false,
  );
  if (!isFile) {
    throw new CloacinaError('PROJECT_INVALID', `the entry '${entry}' of package.json in ${folder} does not exist`);
  }
  const authors = [json.author, ...(json.contributors ?? [])].filter((author) => author !== undefined).map(personText);
  return {
    dir: folder,
    package: {
      name: json.name,
      version: json.version,
      description: json.description ?? null,
      authors,
      license: json.license ?? null,
      repository: typeof json.repository === 'object' ? json.repository.url : (json.repository ?? null),
    },
    entry,
    files: (json.cloacina.files ?? []).map((pattern) => posix.normalize(pattern.replaceAll('\\', '/'))),
    engine: { ...defaultEngine(), ...json.cloacina.engine },
    permissions: json.cloacina.permissions ?? noPermissions,
  };
}

/**
 * Writes a new project that packs and runs without any installation, and returns its name and the files written
 * (relative, with `/`). `name` defaults to the name of the folder. Throws TARGET_EXISTS unless the folder is empty or
 * absent, OPTION_INVALID for a name that no package can have.
 */
export async function createProject(
  dir: string,
  options: { readonly name?: string } = {},
): Promise<{ readonly name: string; readonly files: readonly string[] }> {
  const folder = resolve(dir);
  const name = options.name ?? nameFrom(basename(folder));
  if (!packageName.safeParse(name).success) {
    throw new OptionInvalidError(
      'name',
      `'${name}' is not a valid package name; use lower-case letters, digits, '-' and '_'`,
    );
  }
  await refuseOccupied(folder);
  const files = projectTemplate(name, ownRange());
  for (const [path, text] of files) {
    const target = join(folder, ...path.split('/'));
    makeFolder(dirname(target));
    await writeFile(target, text, { flag: 'wx' });
  }
  return { name, files: [...files.keys()] };
}

async function refuseOccupied(folder: string): Promise<void> {
  const found = await readdir(folder).catch((cause: unknown) => {
    if (errnoOf(cause) === 'ENOENT') return [];
    if (errnoOf(cause) === 'ENOTDIR') throw new CloacinaError('TARGET_EXISTS', `${folder} is a file`, { cause });
    throw new CloacinaError('FILE_UNREADABLE', `${folder} cannot be read`, { cause });
  });
  if (found.length > 0) throw new CloacinaError('TARGET_EXISTS', `the folder ${folder} is not empty; name a new one`);
}

async function realFolder(dir: string): Promise<string> {
  try {
    const folder = await realpath(dir);
    if ((await stat(folder)).isDirectory()) return folder;
  } catch (cause) {
    throw new CloacinaError('FILE_UNREADABLE', `the folder ${resolve(dir)} cannot be read`, { cause });
  }
  throw new CloacinaError('PROJECT_INVALID', `${resolve(dir)} is a file; name the folder of the project`);
}

function parseText(text: string, folder: string): unknown {
  try {
    return JSON.parse(text.replace(/^\ufeff/, ''));
  } catch (cause) {
    throw new CloacinaError('PROJECT_INVALID', `package.json in ${folder} is not JSON: ${String(cause)}`, { cause });
  }
}

function isInside(path: string): boolean {
  const plain = posix.normalize(path.replaceAll('\\', '/'));
  return isRelative(path) && plain !== '..' && !plain.startsWith('../');
}

function isRelative(path: string): boolean {
  return path !== '' && !/^([/\\]|[a-z]:)/i.test(path);
}

function defaultRanges(): { readonly cloacina: string; readonly node: string } {
  const { cloacina, node } = defaultEngine();
  return { cloacina, node };
}

function withDefaults(defaults: object, given: unknown): unknown {
  return typeof given === 'object' && given !== null && !Array.isArray(given) ? { ...defaults, ...given } : given;
}

function personText(author: z.infer<typeof person>): string {
  if (typeof author === 'string') return author;
  return [
    author.name,
    author.email === undefined ? '' : `<${author.email}>`,
    author.url === undefined ? '' : `(${author.url})`,
  ]
    .filter((part) => part !== '')
    .join(' ');
}

function nameFrom(folderName: string): string {
  const name = folderName
    .toLowerCase()
    .replaceAll(/[^a-z0-9._-]+/g, '-')
    .replace(/^[^a-z0-9]+/, '')
    .replace(/[-.]+$/, '');
  return name === '' ? 'workflows' : name;
}
