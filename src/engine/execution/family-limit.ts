import { CloacinaError } from '../../core/error.ts';
import type { Reads } from '../../store/store.ts';
import type { Clock } from '../clock.ts';

export interface FamilyLimitOptions {
  readonly store: Pick<Reads, 'openDescendants'>;
  readonly clock: Clock;
  /** Maximum number of levels of children below a root. */
  readonly maxChildDepth: number;
  /** Maximum number of open descendants of one root. */
  readonly maxOpenChildren: number;
}

/** The children of one root that were admitted here. */
interface Family {
  /** Children that may be created before the next question. */
  left: number;
  /** Children that were admitted since the last question, and its time (monotonic, ms). */
  admitted: number;
  askedAt: number;
  asking: Promise<void> | undefined;
}

/** Families that are remembered. */
const remembered = 1000;
/** Children that were admitted within this time may not be in the database yet. */
const unwrittenMs = 1000;

/**
 * Bounds the children of one root execution, so that a workflow which starts itself again and again ends with an error.
 * The database is asked for the open descendants of a root; then half of what is left may be created without asking, so
 * a family of thousands costs a few questions. Several runners that create children of one root at the same moment may
 * pass the limit by their halves.
 */
export class FamilyLimit {
  readonly #options: FamilyLimitOptions;
  /** By root; the one that was used last is at the end. */
  readonly #families = new Map<string, Family>();

  constructor(options: FamilyLimitOptions) {
    this.#options = options;
  }

  /** Permits one more child at that depth. Throws TOO_MANY_CHILDREN, STORE_UNAVAILABLE. */
  async admit(rootId: string, depth: number): Promise<void> {
    const { maxChildDepth } = this.#options;
    if (depth > maxChildDepth)
      throw tooMany(`children are nested more than ${maxChildDepth} deep (option maxChildDepth)`);
    const family = this.#familyOf(rootId);
    while (family.left === 0) {
      family.asking ??= this.#ask(rootId, family).finally(() => (family.asking = undefined));
      await family.asking;
    }
    family.left--;
    family.admitted++;
  }

  async #ask(rootId: string, family: Family): Promise<void> {
    const { store, clock, maxOpenChildren } = this.#options;
    const now = clock.monotonic();
    const unwritten = now - family.askedAt < unwrittenMs ? family.admitted : 0;
    const open = unwritten + (await store.openDescendants(rootId, maxOpenChildren));
    if (open >= maxOpenChildren) {
      throw tooMany(`the root execution '${rootId}' has ${maxOpenChildren} open descendants (option maxOpenChildren)`);
    }
    Object.assign(family, { left: Math.ceil((maxOpenChildren - open) / 2), admitted: 0, askedAt: now });
  }

  #familyOf(rootId: string): Family {
    const family = this.#families.get(rootId) ?? { left: 0, admitted: 0, askedAt: -Infinity, asking: undefined };
    this.#families.delete(rootId);
    this.#families.set(rootId, family);
    const [oldest] = this.#families.keys();
    if (this.#families.size > remembered) this.#families.delete(oldest!);
    return family;
  }
}

function tooMany(why: string): CloacinaError {
  return new CloacinaError('TOO_MANY_CHILDREN', `the child was not started: ${why}`);
}
