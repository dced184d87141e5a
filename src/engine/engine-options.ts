import type { Renewal, Store } from '../store/store.ts';
import type { Clock } from './clock.ts';
import type { RunnerEvent, TaskProgress } from './hooks.ts';
import type { HostIdentity } from './liveness/host-identity.ts';
import type { EndedExecution } from './execution/ending.ts';
import type { Logger } from './logger.ts';
import type { ResolvedWorkflow } from './client/start.ts';

/** The parts, limits and callbacks of an engine; lengths of time in ms. */
export interface EngineOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly name: string;
  /** Task functions at once. */
  readonly concurrency: number;
  /** The queues whose tasks run here; default `default` alone. */
  readonly queues?: readonly string[];
  /** How often to ask whether another process has committed, ms; default 25. */
  readonly pollMs?: number;
  /** Executions owned at once. */
  readonly maxExecutions: number;
  readonly leaseMs: number;
  /** The longest time without a sign of life of a process of this host that is there. */
  readonly stallMs: number;
  readonly graceMs: number;
  readonly maxPayload: number;
  /** Takes only executions that it started itself, and their children. */
  readonly ownOnly: boolean;
  readonly random: () => number;
  /** The identity of this process; default: of the system. */
  readonly identity?: HostIdentity;
  /** Whether a thread keeps the lease, where the database offers that: not with a clock of the user's. Default false. */
  readonly keepsFromThread?: boolean;
  /** The lease was renewed; the renewal says what is new. */
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
  /** How long ended executions are kept if their workflow does not say; null for ever. */
  readonly retentionMs: number | null;
  /** Resolves a workflow's name for a tenant. */
  readonly resolve: (tenant: string, name: string) => Promise<ResolvedWorkflow>;
  /** An execution was started here whose build is not loaded. */
  readonly onBuildWanted: () => void;
}
