import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { PluginContext } from 'rolldown';
import { importsOf } from './source/imports.ts';
import type { Import } from './source/imports.ts';
import { dependencyOf, displayPath, isDependency } from './paths.ts';
import type { Dependency } from './paths.ts';
import { parseModule } from './source/syntax.ts';

/** Packages that load a native module by a computed path. */
const loaders = new Set([
  'bindings',
  'node-gyp-build',
  'node-gyp-build-optional-packages',
  'node-pre-gyp',
  '@mapbox/node-pre-gyp',
  'pkg-prebuilds',
  'require-addon',
]);

/** The name of a package that exists for one platform: `@img/sharp-linux-x64`. */
const platformName = /(linux|linuxmusl|darwin|win32|freebsd|android)-(x64|arm64|arm|ia32|x86|riscv64|s390x|ppc64)/;

/** An import of a native module or of a loader by a dependency. */
export interface NativeImport {
  readonly importer: string;
  readonly name: string;
}

/** True for the name of a native module or of a loader of such modules. */
export function isNative(name: string): boolean {
  return name.endsWith('.node') || loaders.has(name);
}

export interface NativeFindings {
  /** Native modules that the code of the project needs. */
  readonly refused: readonly string[];
  /** Native modules that a dependency loads only in some of its functions. */
  readonly remarks: readonly string[];
  /** The names of bundled packages that have native parts. */
  readonly packages: readonly string[];
}

/**
 * Finds the native modules in a bundle. `modules`: the modules in its output. A native module is refused if the project
 * needs it to load, or imports it itself. One that a dependency loads in a `try` is left out, as Node does without it;
 * so is one that another dependency loads in some function, which is remarked.
 */
export async function findNative(
  context: PluginContext,
  dir: string,
  modules: ReadonlySet<string>,
  imports: readonly NativeImport[],
): Promise<NativeFindings> {
  const search = new Search(context, dir, modules);
  const packages = await packagesOf(dir, modules);
  const starts = new Map<string, string>();
  for (const { importer, name } of imports) {
    const { name: home } = dependencyOf(dir, importer) ?? { name: '' };
    if (loaders.has(home) || !modules.has(importer)) continue;
    const found = (await search.imports(importer)).filter((each) => each.name === name);
    if (found.length === 0 || found.some((each) => !each.guarded)) starts.set(importer, home);
  }
  for (const module of modules) {
    const home = dependencyOf(dir, module);
    if (home !== null && packages.get(home.folder)?.isPlatform === true) starts.set(module, home.name);
  }
  for (const [module, name] of starts) await search.upwards(module, name);
  const names = [...packages.values()].filter((each) => each.isPlatform || each.hasNativeParts).map(({ name }) => name);
  return { refused: search.refused(), remarks: search.remarks(), packages: [...new Set(names)].toSorted() };
}

class Search {
  readonly #context: PluginContext;
  readonly #dir: string;
  readonly #modules: ReadonlySet<string>;
  readonly #imports = new Map<string, Promise<readonly Import[]>>();
  /** The beginnings of the messages. */
  readonly #refused = new Map<string, string>();
  readonly #optional = new Map<string, string>();

  constructor(context: PluginContext, dir: string, modules: ReadonlySet<string>) {
    this.#context = context;
    this.#dir = dir;
    this.#modules = modules;
  }

  refused(): readonly string[] {
    const why = 'is a native module, which cannot be packed: it fits one platform and may not run isolated';
    const instead = 'use a package in JavaScript or WebAssembly, or an embedded workflow';
    return [...this.#refused.values()].map((what) => `${what} ${why}; ${instead}`);
  }

  remarks(): readonly string[] {
    return [...this.#optional]
      .filter(([name]) => !this.#refused.has(name))
      .map(([name, user]) => `${user} loads ${name} in some of its functions, which fail: ${name} is a native module`);
  }

  /** Follows the importers of a native module to the code of the project. */
  async upwards(start: string, name: string): Promise<void> {
    const seen = new Set([start]);
    for (const module of seen) {
      const info = this.#context.getModuleInfo(module);
      for (const importer of [...(info?.importers ?? []), ...(info?.dynamicImporters ?? [])]) {
        if (!this.#modules.has(importer)) continue;
        const needed = await this.#needs(importer, module);
        if (needed === null) continue;
        if (!isDependency(this.#dir, importer)) {
          const [spot, user] = [`${displayPath(this.#dir, importer)}${needed.spot}`, this.#nameOf(module)];
          this.#refused.set(name, user === name ? `${spot}: ${name}` : `${spot}: ${name}, which ${user} needs,`);
        } else if (needed.isOptional) this.#optional.set(name, this.#nameOf(importer));
        else seen.add(importer);
      }
    }
  }

  imports(module: string): Promise<readonly Import[]> {
    const known = this.#imports.get(module) ?? readImports(module);
    this.#imports.set(module, known);
    return known;
  }

  /** The place at which one module needs another; null if it goes on without it. */
  async #needs(importer: string, module: string): Promise<{ spot: string; isOptional: boolean } | null> {
    const found: Import[] = [];
    for (const each of await this.imports(importer)) {
      const target = await this.#context.resolve(each.name, importer, { kind: each.kind, skipSelf: false });
      if (target?.id === module) found.push(each);
    }
    const needed = found.filter((each) => !each.guarded);
    const [first] = needed;
    if (found.length > 0 && first === undefined) return null;
    const isOther = this.#nameOf(importer) !== this.#nameOf(module);
    const spot = first === undefined ? '' : `:${first.line}:${first.column}`;
    return { spot, isOptional: isOther && needed.length > 0 && needed.every((each) => each.lazy) };
  }

  #nameOf(module: string): string {
    return dependencyOf(this.#dir, module)?.name ?? '';
  }
}

async function readImports(id: string): Promise<readonly Import[]> {
  const file = id.replace(/\?.*$/s, '');
  const code = await readFile(file, 'utf8').catch(() => ''); // a virtual module of the bundler
  const lang = /\.[mc]?ts$/.test(file) ? 'ts' : (/\.([jt]sx)$/.exec(file)?.[1] ?? 'js');
  const module = await parseModule(code, file, lang);
  return module === null ? [] : importsOf(module);
}

interface PackageSigns {
  readonly name: string;
  /** It installs one of several packages by the platform. */
  readonly isPlatform: boolean;
  readonly hasNativeParts: boolean;
}

/** The packages of the modules of a bundle, by folder. */
async function packagesOf(dir: string, modules: ReadonlySet<string>): Promise<ReadonlyMap<string, PackageSigns>> {
  const homes = new Map<string, Dependency>();
  for (const module of modules) {
    const home = dependencyOf(dir, module);
    if (home !== null) homes.set(home.folder, home);
  }
  const signs = [...homes].map(async ([folder, { name }]) => [folder, { name, ...(await signsOf(folder)) }] as const);
  return new Map(await Promise.all(signs));
}

async function signsOf(folder: string): Promise<Omit<PackageSigns, 'name'>> {
  const text = await readFile(join(folder, 'package.json'), 'utf8').catch(() => '{}'); // a folder that is no package
  const json = parsed(text);
  const optional = Object.keys(recordOf(json['optionalDependencies']));
  const needed = Object.keys(recordOf(json['dependencies']));
  return {
    isPlatform: optional.filter((name) => platformName.test(name)).length > 1,
    hasNativeParts: json['gypfile'] === true || 'binary' in json || needed.some((name) => loaders.has(name)),
  };
}

function parsed(text: string): Readonly<Record<string, unknown>> {
  try {
    return recordOf(JSON.parse(text));
  } catch {
    return {}; // the bundler resolved the package without it
  }
}

function recordOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}
