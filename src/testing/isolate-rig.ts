import assert from 'node:assert/strict';
import { mkdtempSync, mkdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Outcome, TaskCall, TaskHost, WorkflowCode } from '../engine/workflow-code.ts';
import type { Logger } from '../engine/logger.ts';
import { Isolate } from '../package/isolate/isolate.ts';
import type { IsolateExit, IsolateOptions } from '../package/isolate/isolate.ts';

export interface Line {
  readonly level: string;
  readonly message: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface Opened {
  readonly isolate: Isolate;
  readonly code: WorkflowCode;
  readonly dir: string;
  readonly lines: Line[];
  readonly deaths: IsolateExit[];
}

export const definition = `import { workflow } from 'cloacina';\nexport const w = workflow('w');\n`;

export function packageFolder(t: TestContext, source: string): string {
  const dir = realpathSync(mkdtempSync(join(tmpdir(), 'cloacina-isolate-')));
  mkdirSync(join(dir, 'code'));
  writeFileSync(join(dir, 'code', 'index.mjs'), source);
  t.after(() => rmSync(dir, { recursive: true, force: true, maxRetries: 5 }));
  return dir;
}

/** A package whose only workflow `w` has these tasks. */
export function open(t: TestContext, tasks: string, options: Partial<IsolateOptions> = {}): Opened {
  return openSource(t, definition + tasks, options);
}

export function openSource(t: TestContext, source: string, options: Partial<IsolateOptions> = {}): Opened {
  const dir = packageFolder(t, source);
  const lines: Line[] = [];
  const deaths: IsolateExit[] = [];
  const log = (level: string) => (data: object, message: string) => {
    lines.push({ level, message, data: { ...data } });
  };
  const logger: Logger = { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') };
  const isolate = new Isolate({
    dir,
    label: 'sample v1.0.0',
    logger,
    onExit: (death) => deaths.push(death),
    ...options,
  });
  t.after(async () => {
    await isolate.close();
    assert.equal(isolate.processes, 0, 'a process was left over');
  });
  return { isolate, code: isolate.code('w'), dir, lines, deaths };
}

export function callOf(task: string, more: Partial<TaskCall> = {}): TaskCall {
  return {
    executionId: '01940000-0000-7000-8000-000000000001',
    workflow: 'w',
    task,
    item: null,
    itemValue: null,
    epoch: 1,
    attempt: 1,
    idempotencyKey: 'key',
    input: '{}',
    needs: [],
    schedule: null,
    maxPayload: 1_048_576,
    alone: false,
    ...more,
  };
}

export function hostOf(more: Partial<TaskHost> = {}): TaskHost {
  return {
    get signal() {
      return new AbortController().signal;
    },
    stepResult: () => Promise.resolve(undefined),
    saveStep: () => Promise.resolve(),
    log: () => undefined,
    progress: () => undefined,
    ...more,
  };
}

export async function completed(outcome: Promise<Outcome>): Promise<unknown> {
  const result = await outcome;
  assert.equal(result.status, 'completed', JSON.stringify(result));
  return JSON.parse(result.output);
}

export async function failed(outcome: Promise<Outcome>): Promise<Extract<Outcome, { status: 'failed' }>> {
  const result = await outcome;
  assert.equal(result.status, 'failed', JSON.stringify(result));
  return result;
}

export async function lost(outcome: Promise<Outcome>): Promise<Extract<Outcome, { status: 'lost' }>> {
  const result = await outcome;
  assert.equal(result.status, 'lost', JSON.stringify(result));
  assert.equal(result.error.code, 'ISOLATE_EXITED');
  return result;
}

/** Waits for an effect of another process, and fails after ten seconds. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  for (let i = 0; i < 1000; i++) {
    if (holds()) return;
    await sleep(10);
  }
  assert.fail(`never: ${what}`);
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
