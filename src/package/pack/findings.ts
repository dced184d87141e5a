import type { RolldownLog } from 'rolldown';
import type { NativeImport } from './native.ts';
import type { PlaceUse, Spot } from './source/locate.ts';

/** An import of the project that leads to no module. */
export interface Unresolved {
  readonly importer: string;
  readonly name: string;
}

/** Findings of one bundling besides its output. */
export class Findings {
  /** Files that the code names, by their absolute paths. */
  readonly assets: Map<string, Uint8Array> = new Map();
  /** Paths that modules derive from their own locations. */
  readonly uses: PlaceUse[] = [];
  /** Decorators and accessors in sources, which this Node does not run. */
  readonly decorators: (Spot & { readonly what: string })[] = [];
  /** Reasons for which the project cannot be packed. */
  readonly refused: string[] = [];
  /** Doubts about code that is packed. */
  readonly remarks: string[] = [];
  readonly unresolved: Unresolved[] = [];
  /** Warnings of the bundler. */
  readonly warnings: RolldownLog[] = [];
  readonly nativeImports: NativeImport[] = [];
  /** Bundled packages with native parts. */
  nativePackages: readonly string[] = [];
  /** `tsconfig.json` files that lie nearest to a module and may not be read. */
  readonly outsideTsconfigs: Set<string> = new Set();
  /** Modules that name their own location, and were given a place. */
  readonly located: Set<string> = new Set();
  /** Folders of modules that must exist in the package, because paths lead through them. */
  readonly folders: Set<string> = new Set();
}
