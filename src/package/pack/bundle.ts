import { realpath } from 'node:fs/promises';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import type { rolldown as rolldownFunction, OutputChunk, RolldownBuild, RolldownOutput } from 'rolldown';
import { messageOf } from '../../core/foreign/error-text.ts';
import { CloacinaError } from '../../core/error.ts';
import { entryPath } from '../archive/manifest.ts';
import { Findings } from './findings.ts';
import type { PlaceUse } from './source/locate.ts';
import { placeBanner } from './source/locate.ts';
import { buildFailed, bundlerLogs, logMessage } from './messages.ts';
import { textTypes } from './source/media.ts';
import { displayPath, isDependency, logicalPath } from './paths.ts';
import { packagePlugin } from './plugin.ts';
import type { Project } from './project.ts';
import { refusals, remarks } from './verdict.ts';
import { Tsconfigs } from './tsconfig.ts';

export interface Bundle {
  /** `code/index.mjs` and its source map. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** The files that the code names, by their absolute paths. */
  readonly assets: ReadonlyMap<string, Uint8Array>;
  /** The absolute paths of the bundled modules, without those of dependencies. */
  readonly sources: readonly string[];
  /** The absolute paths of all bundled modules. */
  readonly modules: readonly string[];
  /** Paths that modules derive from their own locations. */
  readonly uses: readonly PlaceUse[];
  /** Modules that name their own locations. */
  readonly located: ReadonlySet<string>;
  /** Folders of modules that must exist in the package, because paths lead through them. */
  readonly folders: ReadonlySet<string>;
  /** The names of bundled packages with native parts. */
  readonly nativePackages: readonly string[];
  /** Doubts about the code, each with file, line and column. */
  readonly remarks: readonly string[];
}

/**
 * Bundles the entry of a project into one ES module that imports only `node:` modules and `cloacina`. The bytes depend
 * on the sources alone, not on the machine or the location of the folder. Throws BUILD_FAILED with all messages, each
 * with file, line and column.
 */
export async function bundleProject(project: Project): Promise<Bundle> {
  const tsconfigs = new Tsconfigs(project.dir);
  if (tsconfigs.outside(join(project.dir, project.entry)) === null) {
    const found = new Findings();
    const bundle = await attempt(project, tsconfigs, found, true);
    if (found.outsideTsconfigs.size === 0) return settled(bundle);
  }
  return settled(await attempt(project, tsconfigs, new Findings(), tsconfigs.own));
}

type Attempt = { readonly bundle: Bundle } | { readonly error: unknown };

function settled(done: Attempt): Bundle {
  if ('error' in done) throw done.error;
  return done.bundle;
}

async function attempt(
  project: Project,
  tsconfigs: Tsconfigs,
  found: Findings,
  tsconfig: boolean | string,
): Promise<Attempt> {
  const rolldown = await loadBundler(project);
  const build = await rolldown({
    cwd: project.dir,
    input: { index: join(project.dir, project.entry) },
    platform: 'node',
    tsconfig,
    moduleTypes: textTypes,
    plugins: [packagePlugin(project.dir, found, tsconfigs)],
    experimental: { attachDebugInfo: 'none' },
    onLog: (_level, log) => found.warnings.push(log),
  });
  try {
    return { bundle: await generate(project, found, build) };
  } catch (error) {
    const logs = bundlerLogs(error);
    if (error instanceof CloacinaError) return { error };
    const messages = [...(await refusals(project, found, null)), ...logs.map((log) => logMessage(project, log))];
    // an error without logs is none of the bundler's own
    if (logs.length === 0) messages.push(messageOf(error));
    return { error: buildFailed(project, messages, logs.length === 0 ? error : undefined) };
  } finally {
    await build.close();
  }
}

async function generate(project: Project, found: Findings, build: RolldownBuild): Promise<Bundle> {
  const { output } = await build.generate({
    format: 'esm',
    codeSplitting: false,
    entryFileNames: entryPath,
    keepNames: true,
    banner: () => (found.located.size > 0 ? placeBanner : ''),
    sourcemap: true,
    sourcemapExcludeSources: true,
    sourcemapPathTransform: (source, mapFile) =>
      `../source/${logicalPath(project.dir, resolve(dirname(mapFile), source))}`,
  });
  const chunk = chunkOf(output);
  const refused = await refusals(project, found, chunk);
  if (refused.length > 0) throw buildFailed(project, refused);
  return {
    files: new Map(output.map((part) => [part.fileName, bytesOf(part.type === 'chunk' ? part.code : part.source)])),
    assets: found.assets,
    sources: await ownSources(project.dir, await build.watchFiles),
    modules: chunk.moduleIds,
    uses: found.uses,
    located: found.located,
    folders: found.folders,
    nativePackages: found.nativePackages,
    remarks: remarks(project, found),
  };
}

function chunkOf(output: RolldownOutput['output']): OutputChunk {
  return output.find((part) => part.type === 'chunk')!;
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

/** Puts files at their places below `assets/`. Throws BUILD_FAILED for two different files with one place. */
export function assetsOf(project: Project, assets: ReadonlyMap<string, Uint8Array>): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  for (const [file, bytes] of assets) {
    const path = `assets/${logicalPath(project.dir, file)}`;
    const other = files.get(path);
    if (other !== undefined && Buffer.compare(other, bytes) !== 0) {
      const why = 'is in the package twice, of two versions of a dependency; install one of them';
      throw buildFailed(project, [`${displayPath(project.dir, file)} ${why}`]);
    }
    files.set(path, bytes);
  }
  return files;
}

async function ownSources(dir: string, files: readonly string[]): Promise<readonly string[]> {
  const own = files.filter((file) => isAbsolute(file) && !isDependency(dir, file));
  return [...new Set(await Promise.all(own.map((file) => realpath(file))))];
}

function bytesOf(content: string | Uint8Array): Uint8Array {
  return typeof content === 'string' ? Buffer.from(content) : content;
}
