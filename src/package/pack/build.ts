import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CloacinaError } from '../../core/error.ts';
import type { WorkflowSpec } from '../../core/definition/spec.ts';
import { packArchive } from '../archive/archive.ts';
import type { PackedArchive, PackageFiles } from '../archive/archive.ts';
import { bundleProject, logicalPath } from './bundle.ts';
import { pathFault } from '../archive/entry-path.ts';
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
export async function buildPackage(dir: string, options: BuildOptions): Promise<PackedArchive> {
  const project = await readProject(dir);
  refuseFileAccess(project);
  const bundle = await bundleProject(project);
  const { name, version } = project.package;
  const workflows = await options.describe({
    label: `package ${name} v${version}`,
    files: bundle.files,
    env: project.permissions.env,
  });
  if (workflows.length === 0) {
    throw new CloacinaError(
      'NO_WORKFLOWS',
      `package ${name} v${version}: ${project.entry} exports no workflow; export one by name or as default`,
    );
  }
  const files = new Map([...bundle.files, ...(await readSources(project, bundle.sources))]);
  refuseNames(project, files);
  const { package: about, engine, permissions } = project;
  return packArchive({ formatVersion, package: about, engine, entry: entryPath, workflows, permissions }, files);
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
  const faults = [...files.keys()].flatMap((path) => {
    const fault = pathFault(path);
    return fault === null ? [] : [`${path}: ${fault}; rename the file`];
  });
  if (faults.length === 0) return;
  const { name, version } = project.package;
  throw new CloacinaError('BUILD_FAILED', `package ${name} v${version} cannot be packed: ${faults.join('; ')}`);
}
