import { readFile } from 'node:fs/promises';
import type { OutputChunk, RolldownLog } from 'rolldown';
import type { Findings, Unresolved } from './findings.ts';
import { importsOf } from './source/imports.ts';
import { headline, logMessage } from './messages.ts';
import { displayPath, isDependency } from './paths.ts';
import type { Project } from './project.ts';
import { parseModule, walk } from './source/syntax.ts';

/** Warnings of the bundler about code that works as it stands. */
const harmless = new Set([
  'EVAL',
  'INEFFECTIVE_DYNAMIC_IMPORT',
  'INVALID_ANNOTATION',
  'MODULE_LEVEL_DIRECTIVE',
  'PLUGIN_TIMINGS',
  'BUNDLER_TIMINGS',
  'PREFER_BUILTIN_FEATURE',
  'SOURCEMAP_BROKEN',
  'UNRESOLVED_IMPORT',
]);

/** Returns the doubts about the code of the project that is packed. */
export function remarks(project: Project, found: Findings): readonly string[] {
  const warnings = found.warnings.filter((log) => !harmless.has(log.code ?? '') && isOwn(project, log));
  const texts = warnings.map((log) => headline(project, log));
  return [...new Set([...texts, ...found.remarks])].toSorted();
}

function isOwn(project: Project, { id, loc }: RolldownLog): boolean {
  const file = loc?.file ?? id;
  return file !== undefined && !isDependency(project.dir, file);
}

/**
 * Returns the reasons for which a project cannot be packed. `chunk`: the output; null if the bundler failed. Remaining
 * imports that the host does not supply would fail only in the runner. Dynamic requires and imports of dependencies are
 * left alone: optional dependencies are loaded that way.
 */
export async function refusals(
  project: Project,
  found: Findings,
  chunk: Pick<OutputChunk, 'code' | 'imports'> | null,
): Promise<readonly string[]> {
  const remaining = new Set(chunk?.imports);
  const fatal = found.warnings.filter(
    ({ code, id = '', exporter }) =>
      code === 'UNRESOLVED_IMPORT' &&
      (!isDependency(project.dir, id) || (exporter !== undefined && remaining.has(exporter))),
  );
  const own = await Promise.all(found.unresolved.map((each) => unresolvedTexts(project, each)));
  const decorated = chunk === null ? [] : await decoratorTexts(project, found, chunk.code);
  const problems = [...own.flat(), ...fatal.map((log) => logMessage(project, log)), ...decorated];
  return [...found.refused, ...problems, ...(problems.length > 0 ? unreadTexts(project, found) : [])];
}

async function unresolvedTexts(project: Project, { importer, name }: Unresolved): Promise<readonly string[]> {
  const [file, ...query] = importer.split('?');
  const code = await readFile(file!, 'utf8');
  const lang = /\.[mc]?ts$/.test(file!) ? 'ts' : (/\.([jt]sx)$/.exec(file!)?.[1] ?? 'js');
  const module = await parseModule(code, file!, lang);
  const imports = module === null ? [] : importsOf(module).filter((each) => each.name === name);
  const what = `Could not resolve '${name}'`;
  const shown = displayPath(project.dir, file);
  if (imports.length === 0 && query.length === 0) return [`${shown}: ${what}`];
  return imports.flatMap(({ line, column, guarded, kind }) =>
    guarded && kind !== 'import-statement' ? [] : [`${shown}:${line}:${column}: ${what}`],
  );
}

async function decoratorTexts(project: Project, found: Findings, output: string): Promise<readonly string[]> {
  if (found.decorators.length === 0) return [];
  const module = await parseModule(output, 'index.mjs', 'js');
  const left = new Set<string>();
  if (module !== null) walk(module.program, ({ type }) => void left.add(type));
  return found.decorators
    .filter(({ what }) => left.has(what === 'decorators' ? 'Decorator' : 'AccessorProperty'))
    .map(({ file, line, column, what }) => {
      const advice = 'set "experimentalDecorators": true in tsconfig.json, or compile them before packing';
      return `${displayPath(project.dir, file)}:${line}:${column}: Node ${process.versions.node} has no ${what}; ${advice}`;
    });
}

/** A problem may come from settings that were not read. */
function unreadTexts(project: Project, found: Findings): readonly string[] {
  return [...found.outsideTsconfigs].map((file) => {
    const why = 'was not read, because it lies outside of the workspace of the project';
    return `${displayPath(project.dir, file)} ${why}; add a tsconfig.json to the project`;
  });
}
