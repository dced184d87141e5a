import type { Tx } from '../script.ts';

/** What a runner takes at once, and of what. */
export interface Claim {
  readonly runner: string;
  readonly now: number;
  readonly limit: number;
  /** What this runner can run (see `NewExecution.code`). */
  readonly buildIds: readonly string[];
  /** Where set, only executions of these roots. */
  readonly roots: readonly string[] | null;
  /** Executions at once, by `code workflow`, of the workflows that have a limit. */
  readonly limits: ReadonlyMap<string, number>;
  /** Whether a suspect may be taken; default true. */
  readonly suspects?: boolean;
  /** Workflows that are left to others, although the code of some that are not is here too, by their code. */
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

/** Whether a workflow is left to others. */
export function isExcepted({ except }: Claim, code: string, workflow: string): boolean {
  return except?.get(code)?.includes(workflow) === true;
}
