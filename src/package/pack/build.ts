import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CloacinaError } from '../../core/error.ts';
import type { WorkflowSpec } from '../../core/definition/spec.ts';
import { packArchive } from '../archive/archive.ts';
import type { PackedArchive, PackageFiles } from '../archive/archive.ts';
import { remarksBeside } from './beside.ts';
import { assetsOf, bundleProject } from './bundle.ts';
import { readNamedFiles } from './files.ts';
import { logicalPath } from './paths.ts';
import { clashFinder, pathFault } from '../archive/entry-path.ts';
import { entryPath, formatVersion } from '../archive/manifest.ts';
import { readProject } from './project.ts';
import type { Project } from './project.ts';

export interface BundledCode {
  /** The name of the package in messages. */
  readonly label: string;
  /** By their paths in the package, `code/index.mjs` among them. */
  readonly files: PackageFiles;
  /** The environment variables that the package asks for. */
  readonly env: readonly string[];
  /** The names of bundled packages with native parts. */
  readonly nativePackages: readonly string[];
  /** Doubts about the code, which may be the reason if it does not load. */
  readonly warnings: readonly string[];
}

/** A package file, and doubts about its code, each with its place. */
export interface BuiltPackage extends PackedArchive {
  readonly warnings: readonly string[];
}

export interface BuildOptions {
  /**
   * Loads the bundle in an isolate and returns the workflows that it exports. Throws if it does not load or its
   * workflows are invalid.
   */
  readonly describe: (code: BundledCode) => Promise<readonly WorkflowSpec[]>;
}

/**
 * Builds the `.cloacina` file of a project folder: bundles its entry, gets the workflows from `describe`, packs. The
 * same sources produce the same bytes from any folder. Throws PROJECT_INVALID, FILE_UNREADABLE, BUILD_FAILED,
 * NO_WORKFLOWS, ARCHIVE_TOO_LARGE, MANIFEST_INVALID, and the errors of `describe`.
 */
export async function buildPackage(dir: string, options: BuildOptions): Promise<BuiltPackage> {
  const project = await readProject(dir);
  refuseFileAccess(project);
  const bundle = await bundleProject(project);
  const named = await readNamedFiles(project, bundle.modules);
  const assets = new Map([...bundle.assets, ...named]);
  const placed = assetsOf(project, assets);
  keepFolders(project, placed, bundle.folders);
  const code = new Map([...placed, ...bundle.files]);
  refuseNames(project, code);
  const beside = await remarksBeside(project.dir, bundle, new Set(assets.keys()));
  const warnings = [...bundle.remarks, ...beside].toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  const { name, version } = project.package;
  const workflows = await options.describe({
    label: `package ${name} v${version}`,
    files: code,
    env: project.permissions.env,
    nativePackages: bundle.nativePackages,
    warnings,
  });
  if (workflows.length === 0) {
    throw new CloacinaError(
      'NO_WORKFLOWS',
      `package ${name} v${version}: ${project.entry} exports no workflow; export one by name, as default, or as a member of module.exports`,
    );
  }
  const files = new Map([...code, ...(await readSources(project, bundle.sources))]);
  refuseNames(project, files);
  const { package: about, engine, permissions } = project;
  const manifest = { formatVersion, package: about, engine, entry: entryPath, workflows, permissions } as const;
  return { ...(await packArchive(manifest, files)), warnings };
}

/** An archive has no folders of their own: a folder that code leads through gets an empty file. */
function keepFolders(project: Project, placed: Map<string, Uint8Array>, folders: ReadonlySet<string>): void {
  if (placed.size === 0) return; // no path leads to a file
  for (const folder of folders) {
    const path = `assets/${logicalPath(project.dir, folder)}/`;
    if (![...placed.keys()].some((file) => file.startsWith(path)))
      placed.set(`${path}cloacina-folder`, new Uint8Array());
  }
}

/** Reads the sources that are stored for review; files and folders with a leading dot are left out. */
async function readSources(project: Project, modules: readonly string[]): Promise<PackageFiles> {
  const readmes = (await readdir(project.dir)).filter((name) => /^readme(\.md|\.txt)?$/i.test(name));
  const paths = [...modules, ...['package.json', ...readmes].map((name) => join(project.dir, name))];
  const files = new Map<string, Uint8Array>();
  for (const path of paths) {
    const target = logicalPath(project.dir, path);
    if (!target.split('/').some((segment) => segment.startsWith('.'))) {
      files.set(`source/${target}`, await readFile(path));
    }
  }
  return files;
}

/** A package that needs files cannot be loaded by any runner. */
function refuseFileAccess({ package: { name, version }, permissions }: Project): void {
  const kind = (['read', 'write'] as const).find((each) => permissions[each].length > 0);
  if (kind === undefined) return;
  const what = `package ${name} v${version} cannot be packed: cloacina.permissions.${kind}`;
  throw new CloacinaError(
    'PROJECT_INVALID',
    `${what} asks for files, but runners grant no file access; put the files into the package`,
  );
}

function refuseNames(project: Project, files: PackageFiles): void {
  const clash = clashFinder();
  const faults = [...files.keys()].flatMap((path) => {
    const fault = pathFault(path) ?? clash(path);
    return fault === null ? [] : [`${path}: ${fault}; rename the file`];
  });
  if (faults.length === 0) return;
  const { name, version } = project.package;
  throw new CloacinaError('BUILD_FAILED', `package ${name} v${version} cannot be packed: ${faults.join('; ')}`);
}
