import { isBuiltin } from 'node:module';
import { dirname } from 'node:path';
import type { Plugin, PluginContext } from 'rolldown';
import type { Findings } from './findings.ts';
import { readMapped } from './source/input-map.ts';
import { attributeEdits, loaderFault, markedImport, mayAttribute, mediaModule } from './source/media.ts';
import { findNative, isNative } from './native.ts';
import { displayPath, isDependency } from './paths.ts';
import { followRequires, mayLoad, mayRequire } from './source/requires.ts';
import { locate, mayLocate } from './source/locate.ts';
import type { Edit, Spot } from './source/locate.ts';
import { parseModule, position, walk } from './source/syntax.ts';
import type { Syntax } from './source/syntax.ts';
import { mayRead, workingFiles } from './source/working-folder.ts';
import type { Tsconfigs } from './tsconfig.ts';

const codeTypes: ReadonlySet<string> = new Set(['js', 'jsx', 'ts', 'tsx']);
/** Keeps its members unknown to the bundler, which would report each as missing. */
const emptyModule = { code: 'module.exports = {};', moduleType: 'js', moduleSideEffects: false } as const;

/** The part of the bundler that knows packages. `dir` is the folder of the project. */
export function packagePlugin(dir: string, found: Findings, tsconfigs: Tsconfigs): Plugin {
  const resolving = new Resolving(dir, found);
  return {
    name: 'cloacina-package',
    async resolveId(specifier, importer, { kind }) {
      return resolving.resolve(this, specifier, importer, kind);
    },
    async load(id) {
      const media = markedImport(id);
      if (media !== null) {
        this.addWatchFile(media.name);
        return { code: await mediaModule(media.name, media.mark), moduleType: 'js', map: { mappings: '' } };
      }
      if (id.startsWith('\0') || isDependency(dir, id)) return null;
      if (id.endsWith('.node')) {
        found.refused.push(
          `${displayPath(dir, id)}: a native module cannot be packed, because it fits one platform and may not run isolated`,
        );
        return emptyModule;
      }
      const fault = loaderFault(id);
      if (fault !== null && !id.includes('?')) {
        found.refused.push(`${displayPath(dir, id)}: ${fault}`);
        return emptyModule;
      }
      return /\.[mc]?js$/.test(id) ? readMapped(id) : null;
    },
    async transform(code, id, { moduleType }) {
      if (id.startsWith('\0') || !codeTypes.has(moduleType) || markedImport(id) !== null) return null;
      const file = id.replace(/\?.*$/s, '');
      if (!isDependency(dir, file)) {
        const outside = tsconfigs.outside(file);
        if (outside !== null) found.outsideTsconfigs.add(outside);
      }
      if (!mayMatter(code, isDependency(dir, file))) return null;
      const module = await parseModule(code, file, moduleType);
      if (module === null) return null;
      const resolves = async (name: string): Promise<boolean> =>
        isBuiltin(name) || (await this.resolve(name, id, { kind: 'require-call' })) !== null;
      const edits = await editsOf(module, dir, found, resolves);
      return edits.length === 0 ? null : apply(code, file, edits);
    },
    async generateBundle(_options, bundle) {
      const chunks = Object.values(bundle).flatMap((part) => (part.type === 'chunk' ? [part] : []));
      const modules = new Set(chunks.flatMap((chunk) => chunk.moduleIds));
      const native = await findNative(this, dir, modules, found.nativeImports);
      found.refused.push(...native.refused);
      found.remarks.push(...native.remarks);
      found.nativePackages = native.packages;
    },
  };
}

type ImportKind = NonNullable<NonNullable<Parameters<PluginContext['resolve']>[2]>['kind']>;

class Resolving {
  readonly #dir: string;
  readonly #found: Findings;

  constructor(dir: string, found: Findings) {
    this.#dir = dir;
    this.#found = found;
  }

  async resolve(
    context: PluginContext,
    specifier: string,
    importer: string | undefined,
    kind: ImportKind,
  ): Promise<{ id: string; external?: boolean } | null> {
    if (isBuiltin(specifier)) {
      return { id: specifier.startsWith('node:') ? specifier : `node:${specifier}`, external: true };
    }
    if (specifier === 'cloacina') return { id: specifier, external: true };
    if (specifier.startsWith('cloacina/')) {
      const file = displayPath(this.#dir, importer);
      this.#found.refused.push(`${file}: '${specifier}' cannot be imported in a package; import from 'cloacina'`);
      return { id: specifier, external: true };
    }
    if (importer === undefined) return null;
    if (isDependency(this.#dir, importer)) return this.#ofDependency(specifier, importer);
    const media = markedImport(specifier);
    const resolved = await context.resolve(media?.name ?? specifier, importer, { kind });
    // null: the bundler resolves it once more, with all that it knows of the package
    if (resolved !== null) return media === null ? null : { id: `${resolved.id}${media.mark}` };
    this.#found.unresolved.push({ importer, name: specifier });
    return { id: specifier, external: true };
  }

  /** A native module of a dependency is left out: a call that requires it fails as for any missing module. */
  #ofDependency(name: string, importer: string): { id: string; external: true } | null {
    if (!isNative(name)) return null;
    this.#found.nativeImports.push({ importer, name });
    return name.endsWith('.node') ? { id: name.replace(/^(\.\.?\/)+/, ''), external: true } : null;
  }
}

/** True if a module has to be parsed. */
function mayMatter(code: string, isForeign: boolean): boolean {
  if (mayLocate(code) || mayRequire(code) || mayAttribute(code)) return true;
  return !isForeign && (mayLoad(code) || mayDecorate(code) || mayRead(code));
}

const urlText = "new URL('PATH', import.meta.url)";

function mayDecorate(code: string): boolean {
  return /@[\w(]|\baccessor\b/.test(code);
}

async function editsOf(
  module: Syntax,
  dir: string,
  found: Findings,
  resolves: (name: string) => Promise<boolean>,
): Promise<readonly Edit[]> {
  const { file, code } = module;
  const isOwn = !isDependency(dir, file);
  const located = mayLocate(code) ? await locate(module, dir) : { edits: [], assets: new Map(), missing: [], uses: [] };
  for (const [asset, bytes] of located.assets) found.assets.set(asset, bytes);
  found.uses.push(...located.uses);
  if (located.edits.length > 0) found.located.add(file);
  // the folder must exist for such a path, although it leads out of it
  if (located.edits.length > 0 && /["'`}]\/\.\.(\/|["'`])/.test(code)) found.folders.add(dirname(file));
  const required = await followRequires(module, resolves);
  if (isOwn) {
    for (const name of required.unresolved) found.unresolved.push({ importer: file, name });
    for (const missing of located.missing) {
      found.refused.push(`${shown(dir, missing)}: the file '${displayPath(dir, missing.asset)}' cannot be read`);
    }
    for (const { text, ...spot } of required.open) {
      found.remarks.push(
        `${shown(dir, { file, ...spot })}: ${text} finds only modules that are in the package by another import`,
      );
    }
    for (const { path, url, ...spot } of workingFiles(module, dir)) {
      const why = "is read from the working folder, which is not the project's in a package";
      found.remarks.push(
        `${shown(dir, { file, ...spot })}: '${path}' ${why}; use ${urlText.replace('PATH', () => url)}`,
      );
    }
    if (mayDecorate(code)) found.decorators.push(...decoratorsOf(module));
  }
  return [...located.edits, ...required.edits, ...(mayAttribute(code) ? attributeEdits(module) : [])];
}

function shown(dir: string, { file, line, column }: Spot): string {
  return `${displayPath(dir, file)}:${line}:${column}`;
}

async function apply(code: string, file: string, edits: readonly Edit[]): Promise<{ code: string; map: string }> {
  const { RolldownMagicString } = await import('rolldown');
  const rewritten = new RolldownMagicString(code, { filename: file });
  for (const { start, end, text } of edits) {
    if (text === '') rewritten.remove(start, end);
    else rewritten.overwrite(start, end, text);
  }
  return { code: rewritten.toString(), map: rewritten.generateMap({ source: file, hires: 'boundary' }).toString() };
}

/** The decorators and accessors of a module, which the bundler compiles only for some settings. */
function decoratorsOf(module: Syntax): readonly (Spot & { readonly what: string })[] {
  const spots: (Spot & { readonly what: string })[] = [];
  walk(module.program, (node) => {
    const what =
      node.type === 'Decorator' ? 'decorators' : node.type === 'AccessorProperty' ? "the keyword 'accessor'" : null;
    if (what !== null) spots.push({ file: module.file, ...position(module.code, node.start), what });
  });
  return spots;
}
