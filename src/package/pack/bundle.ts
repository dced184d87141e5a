import { realpath, stat } from 'node:fs/promises';
import { isBuiltin } from 'node:module';
import { dirname, isAbsolute, join, relative, resolve } from 'node:path';
import type { Plugin, rolldown as rolldownFunction, RolldownLog } from 'rolldown';
import { messageOf } from '../../core/foreign/error-text.ts';
import { isError } from '../../core/foreign/realms.ts';
import { CloacinaError } from '../../core/error.ts';
import { rewriteAssets } from './assets.ts';
import { entryPath } from '../archive/manifest.ts';
import type { Project } from './project.ts';

interface Bundle {
  /** `code/index.mjs`, its source map, and `assets/...`. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** The absolute paths of the bundled modules, without those of dependencies. */
  readonly sources: readonly string[];
}

/** Findings of one bundling besides its output. */
interface Findings {
  readonly assets: Map<string, Uint8Array>;
  readonly refused: string[];
  readonly unresolved: RolldownLog[];
}

/**
 * Bundles the entry of a project into one ES module that imports only `node:` modules and `cloacina`. The bytes depend
 * on the sources alone, not on the machine or the location of the folder. Throws BUILD_FAILED with the bundler's
 * messages, each with file, line and column.
 */
export async function bundleProject(project: Project): Promise<Bundle> {
  const rolldown = await loadBundler(project);
  const found: Findings = { assets: new Map(), refused: [], unresolved: [] };
  const build = await rolldown({
    cwd: project.dir,
    input: { index: join(project.dir, project.entry) },
    platform: 'node',
    tsconfig: await ownTsconfig(project.dir),
    plugins: [packagePlugin(project.dir, found)],
    experimental: { attachDebugInfo: 'none' },
    onLog: (_level, log) => {
      if (log.code === 'UNRESOLVED_IMPORT') found.unresolved.push(log);
    },
  });
  try {
    const { output } = await build.generate({
      format: 'esm',
      codeSplitting: false,
      entryFileNames: entryPath,
      sourcemap: true,
      sourcemapExcludeSources: true,
      sourcemapPathTransform: (source, mapFile) =>
        `../source/${logicalPath(project.dir, resolve(dirname(mapFile), source))}`,
    });
    const imports = output.flatMap((part) => (part.type === 'chunk' ? part.imports : []));
    refuse(project, found, imports);
    const files = new Map(found.assets);
    for (const part of output) files.set(part.fileName, bytesOf(part.type === 'chunk' ? part.code : part.source));
    return { files, sources: await ownSources(project.dir, await build.watchFiles) };
  } catch (error) {
    if (error instanceof CloacinaError) throw error;
    throw buildFailed(project, bundlerMessages(project, error), error);
  } finally {
    await build.close();
  }
}

/** The bundler is imported only to pack: runners do without it. */
async function loadBundler(project: Project): Promise<typeof rolldownFunction> {
  try {
    return (await import('rolldown')).rolldown;
  } catch (error) {
    const reason = messageOf(error);
    throw buildFailed(project, [`the bundler does not load on this machine (${reason})`], error);
  }
}

/**
 * Returns the displayed path of a file: relative to the project, with `/`; a dependency from its `node_modules` on,
 * wherever that is; `up/` for each folder above the project.
 */
export function logicalPath(dir: string, file: string): string {
  const posixFile = file.replaceAll('\\', '/').normalize('NFC');
  const dependency = dependencyAt(dir, file);
  if (dependency >= 0) return posixFile.slice(dependency + 1);
  const path = relative(dir, file);
  // another drive has no relative path
  const inside = isAbsolute(path) ? `up/${posixFile.replace(/^[a-z]:\//i, '')}` : path;
  return inside
    .replaceAll('\\', '/')
    .normalize('NFC')
    .replaceAll(/(^|\/)\.\.(?=\/)/g, '$1up');
}

/** A configuration above the project would make the bytes depend on the location of the folder. */
async function ownTsconfig(dir: string): Promise<string | false> {
  const file = join(dir, 'tsconfig.json');
  return stat(file).then(
    (found) => (found.isFile() ? file : false),
    () => false as const,
  );
}

function packagePlugin(dir: string, found: Findings): Plugin {
  return {
    name: 'cloacina-package',
    resolveId(specifier, importer) {
      if (isBuiltin(specifier)) {
        return { id: specifier.startsWith('node:') ? specifier : `node:${specifier}`, external: true };
      }
      if (specifier === 'cloacina') return { id: specifier, external: true };
      if (specifier.startsWith('cloacina/')) {
        found.refused.push(
          `${displayPath(dir, importer)}: '${specifier}' cannot be imported in a package; import from 'cloacina'`,
        );
        return { id: specifier, external: true };
      }
      return null;
    },
    load(id) {
      if (!id.endsWith('.node')) return null;
      const file = displayPath(dir, id);
      found.refused.push(
        `${file}: a native module cannot be packed, because it fits one platform and may not run isolated`,
      );
      return { code: 'export default null;', moduleSideEffects: false };
    },
    async transform(code, id, meta) {
      if (id.startsWith('\0')) return null;
      const file = id.replace(/\?.*$/s, '');
      const result = await rewriteAssets(code, file, meta.moduleType);
      if (result === null) return null;
      for (const [path, bytes] of result.assets) found.assets.set(path, bytes);
      if (!isDependency(dir, file)) {
        for (const { file: asset, line, column } of result.missing) {
          found.refused.push(
            `${displayPath(dir, file)}:${line}:${column}: the file '${displayPath(dir, asset)}' cannot be read`,
          );
        }
      }
      return { code: result.code, map: result.map };
    },
  };
}

/**
 * Refuses remaining imports that the host does not supply, since they would fail only in the runner. Dynamic requires
 * and imports of dependencies are left alone: optional dependencies are loaded that way.
 */
function refuse(project: Project, found: Findings, imports: readonly string[]): void {
  const fatal = found.unresolved.filter(
    (log) => !isDependency(project.dir, log.id ?? '') || (log.exporter !== undefined && imports.includes(log.exporter)),
  );
  const refused = [...found.refused, ...fatal.map((log) => logMessage(project, log))];
  if (refused.length > 0) throw buildFailed(project, refused.toSorted());
}

function bundlerMessages(project: Project, error: unknown): readonly string[] {
  const errors = isError(error) && 'errors' in error && Array.isArray(error.errors) ? error.errors : [];
  if (errors.length === 0) return [messageOf(error)];
  return (errors as readonly RolldownLog[]).map((log) => logMessage(project, log));
}

/** `src/index.ts:3:7: Unexpected token`, and the surrounding lines if the bundler supplies them. */
function logMessage(project: Project, log: RolldownLog): string {
  const [headline = ''] = log.message.replace(/^\[\w+\] /, '').split('\n');
  const file = log.loc?.file ?? log.id;
  const place = log.loc === undefined ? '' : `:${log.loc.line}:${log.loc.column + 1}`;
  const prefix = file === undefined ? '' : `${displayPath(project.dir, file)}${place}: `;
  return `${prefix}${headline.trim()}${log.frame === undefined ? '' : `\n${log.frame}`}`;
}

function buildFailed(project: Project, messages: readonly string[], cause?: unknown): CloacinaError {
  const { name, version } = project.package;
  return new CloacinaError('BUILD_FAILED', `package ${name} v${version} does not build: ${messages.join('\n')}`, {
    cause,
  });
}

function displayPath(dir: string, file: string | undefined): string {
  return file === undefined ? 'the entry' : relative(dir, file).replaceAll('\\', '/');
}

function isDependency(dir: string, file: string): boolean {
  return dependencyAt(dir, file) >= 0;
}

/**
 * Returns the index in a file's path (with '/' and in NFC) at which its dependency's folder begins; -1 for a file of
 * the project. The project may itself be in a node_modules folder, as the demo of an installed package is.
 */
function dependencyAt(dir: string, file: string): number {
  const [project, path] = [dir, file].map((one) => one.replaceAll('\\', '/').normalize('NFC')) as [string, string];
  const at = path.lastIndexOf('/node_modules/');
  return path.startsWith(`${project}/`) && at < project.length ? -1 : at;
}

async function ownSources(dir: string, files: readonly string[]): Promise<readonly string[]> {
  const own = files.filter((file) => isAbsolute(file) && !isDependency(dir, file));
  return [...new Set(await Promise.all(own.map((file) => realpath(file))))];
}

function bytesOf(content: string | Uint8Array): Uint8Array {
  return typeof content === 'string' ? Buffer.from(content) : content;
}
