import type { Turns } from './turns.ts';
import type { Tx } from '../script.ts';

/** The most that a runner takes at once, and from which executions. */
export interface Claim {
  readonly runner: string;
  readonly now: number;
  readonly limit: number;
  /** The build ids that this runner can run (see `NewExecution.buildId`). */
  readonly buildIds: readonly string[];
  /** Set: only executions of these roots. */
  readonly roots: readonly string[] | null;
  /** Executions at once, by `buildId workflow`, of the workflows that have a limit. */
  readonly limits: ReadonlyMap<string, number>;
  /** True if a suspect may be taken; the default. */
  readonly suspects?: boolean;
  /** Workflows that this runner leaves to other runners, by the build id that they share with workflows that it takes. */
  readonly except?: ReadonlyMap<string, readonly string[]>;
}

/**
 * The memory of the claims of one process: by build id, the tenant and the limit key at which the last look stopped, and
 * the turns that tenants had. So no tenant and no key waits for ever.
 */
export interface ClaimCursor {
  readonly free: Map<string, string>;
  readonly limited: Map<string, string>;
  readonly turns: Turns;
}

/** The transaction of a claim, with the cursor of its store. */
export interface ClaimTx extends Tx {
  readonly cursor: ClaimCursor;
}

/** True if the claim leaves a workflow to other runners. */
export function isExcepted({ except }: Claim, code: string, workflow: string): boolean {
  return except?.get(code)?.includes(workflow) === true;
}
