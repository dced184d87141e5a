import type { Renewal, Store } from '../store/store.ts';
import type { Clock } from './clock.ts';
import type { RunnerEvent, TaskProgress } from './hooks.ts';
import type { HostIdentity } from './liveness/failure-detector.ts';
import type { EndedExecution } from './execution/ending.ts';
import type { Logger } from './logger.ts';
import type { ResolvedWorkflow } from './client/start.ts';

/** What an engine is made of and told; lengths of time in ms. */
export interface EngineOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly name: string;
  /** Task functions at once. */
  readonly concurrency: number;
  /** The queues whose tasks run here; default `default` alone. */
  readonly queues?: readonly string[];
  /** How often to look whether another process has committed, ms; default 25. */
  readonly pollMs?: number;
  /** Executions owned at once. */
  readonly maxExecutions: number;
  readonly leaseMs: number;
  /** How long a process of this host that lives may be without a sign of life. */
  readonly stallMs: number;
  readonly graceMs: number;
  readonly maxPayload: number;
  /** Takes only executions that it started itself, and their children. */
  readonly ownOnly: boolean;
  readonly random: () => number;
  /** Who this process is; default what the system says. */
  readonly identity?: HostIdentity;
  /** Whether a thread keeps the lease, where the database offers that: not with a clock of the user's. Default false. */
  readonly keepsFromThread?: boolean;
  /** The lease was renewed, and the database said what is new. */
  readonly onRenewed?: (renewal: Renewal) => void;
  /** Whether an open runner keeps its process alive; default true. */
  readonly keepAlive?: boolean;
  readonly onEvent: ((event: RunnerEvent) => void) | null;
  readonly onProgress: (progress: TaskProgress) => void;
  readonly onEnded: (id: string, ended: EndedExecution) => void;
  /** Something of an execution owned here is durable. */
  readonly onCommitted: () => void;
  /** Another process committed something; `beyond`: the registry or schedules may have changed, too. */
  readonly onChanged: (beyond: boolean) => void;
  /** How long ended executions are kept where their workflow does not say; null for ever. */
  readonly retentionMs: number | null;
  /** What a workflow's name means to a tenant. */
  readonly resolve: (tenant: string, name: string) => Promise<ResolvedWorkflow>;
  /** An execution was started here whose code is not loaded. */
  readonly onBuildWanted: () => void;
}
