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

/** By build id, the place where the last claim stopped among many tenants and among many limit keys, so that none waits forever. */
export interface ClaimCursor {
  readonly tenants: Map<string, string>;
  readonly keys: Map<string, string>;
}

/** The transaction of a claim, with the cursor of its store. */
export interface ClaimTx extends Tx {
  readonly cursor: ClaimCursor;
}

/** True if the claim leaves a workflow to other runners. */
export function isExcepted({ except }: Claim, code: string, workflow: string): boolean {
  return except?.get(code)?.includes(workflow) === true;
}
