import { setTimeout as sleep } from 'node:timers/promises';
import { isEnded } from '../core/execution.ts';
import type { ExecutionEvent } from '../engine/executions.ts';
import type { Client } from '../open.ts';

/** How often a follower looks; a person sees 100 ms as at once. */
const lookMs = 100;
const pageSize = 1000;

/** The ways an execution ends, as its last event. */
const lastEvents: ReadonlySet<string> = new Set(['execution.completed', 'execution.failed', 'execution.cancelled']);

/**
 * Every event of an execution after number `after`, in order, none missed and none repeated, until it has ended.
 * Throws EXECUTION_NOT_FOUND.
 */
export async function* followEvents(
  client: Client,
  id: string,
  { after = 0, signal }: { readonly after?: number; readonly signal: AbortSignal },
): AsyncGenerator<ExecutionEvent, void, undefined> {
  let seq = after;
  let mayHaveEnded = true;
  while (!signal.aborted) {
    // read before the events: the last event was written together with the status, so that it is among them
    const ended: boolean = mayHaveEnded && isEnded((await client.executions.get(id)).status);
    const events = await client.executions.events(id, { after: seq, limit: pageSize });
    for (const event of events) {
      seq = event.seq;
      yield event;
    }
    mayHaveEnded = ended || events.some((event) => lastEvents.has(event.type));
    if (ended && events.length < pageSize) return;
    if (!mayHaveEnded && events.length < pageSize) await rest(signal);
  }
}

async function rest(signal: AbortSignal): Promise<void> {
  try {
    await sleep(lookMs, undefined, { signal });
  } catch {
    // the loop sees that the signal fired
  }
}
