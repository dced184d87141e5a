import type { StatementSync } from 'node:sqlite';
import { FencedError, RefusedDataError } from '../transition.ts';
import type {
  Batch,
  CommitResult,
  Effects,
  ExecutionRelease,
  NewEvent,
  NewExecution,
  Transition,
} from '../transition.ts';
import { cancelExecution } from '../executions/commands.ts';
import { createExecution } from '../executions/executions.ts';
import { childEnded } from '../executions/inbox.ts';
import { checkPins, lockPinnedVersions, madeBy } from '../commit/pinned-versions.ts';
import type { Pins } from '../commit/pinned-versions.ts';
import { eventRow, events } from '../tables/events.ts';
import { executionTags, tagRows } from '../tables/execution-tags.ts';
import { newExecutionRow, newExecutions } from '../tables/executions.ts';
import { logs } from '../tables/logs.ts';
import { offerOverwrite, offers } from '../tables/offers.ts';
import { steps } from '../tables/steps.ts';
import { taskExecutions, taskOverwrite } from '../tables/task-executions.ts';
import { run } from '../script.ts';
import { isDataError } from './driver.ts';
import type { SqliteDriver } from './driver.ts';

interface Result {
  readonly lost: string[];
  readonly kept: string[];
  readonly moved: string[];
  readonly offersTaken: { readonly id: string; readonly task: string; readonly item: number }[];
}

/**
 * The group commit on SQLite: a whole batch in one synchronous transaction of prepared statements. Every transition is
 * checked against owner and epoch first. Throws FencedError, PinRefusedError, RefusedDataError, and SQLite's own error
 * when busy.
 */
export class SqliteCommit {
  readonly #driver: SqliteDriver;
  readonly #fence: StatementSync;
  readonly #owned: StatementSync;
  readonly #create: StatementSync;
  readonly #letGo: StatementSync;
  readonly #progressed: StatementSync;
  readonly #task: StatementSync;
  readonly #step: StatementSync;
  readonly #log: StatementSync;
  readonly #event: StatementSync;
  readonly #mail: StatementSync;
  readonly #taken: StatementSync;
  readonly #parsed: StatementSync;
  readonly #loads: StatementSync;
  readonly #tag: StatementSync;
  readonly #allMail: StatementSync;
  readonly #offer: StatementSync;
  readonly #offerWithdrawn: StatementSync;
  readonly #offerEnded: StatementSync;
  readonly #now: () => number;

  constructor(driver: SqliteDriver, now: () => number) {
    this.#now = now;
    this.#driver = driver;
    this.#fence = driver.prepare('select dead from runners where id = $1');
    this.#owned = driver.prepare('select inbox_seq from executions where id = $1 and owner = $2 and epoch = $3');
    this.#create = driver.prepare(newExecutions.insertText);
    this.#letGo = driver.prepare(
      `update executions set status = $1, reason = $2, wake_at = $3, ended_at = $4, output = $5, error = $6,
       error_task = $7, owner = null where id = $8`,
    );
    this.#progressed = driver.prepare('update executions set crash_count = 0, load_attempts = 0 where id = $1');
    this.#task = driver.prepare(`${taskExecutions.insertText} ${taskOverwrite}`);
    this.#step = driver.prepare(steps.insertText);
    this.#log = driver.prepare(logs.insertText);
    this.#event = driver.prepare(events.insertText);
    this.#mail = driver.prepare('delete from inbox_messages where execution_id = $1 and n = $2');
    this.#allMail = driver.prepare(`delete from inbox_messages where execution_id = $1 and kind <> 'signal'`);
    this.#offer = driver.prepare(`${offers.insertText} ${offerOverwrite}`);
    this.#offerWithdrawn = driver.prepare(
      'delete from offers where execution_id = $1 and task = $2 and item = $3 and helper is null',
    );
    this.#offerEnded = driver.prepare('delete from offers where execution_id = $1 and task = $2 and item = $3');
    this.#loads = driver.prepare('update executions set load_attempts = $2 where id = $1');
    this.#tag = driver.prepare(executionTags.insertText);
    this.#parsed = driver.prepare('update executions set input = $2, input_parsed = 1 where id = $1');
    this.#taken = driver.prepare('update executions set inbox_acked = $2 where id = $1');
  }

  commit(batch: Batch): CommitResult {
    const result: Result = { lost: [], kept: [], moved: [], offersTaken: [] };
    this.#driver.writeNow(() => {
      const row = this.#fence.get(batch.runner);
      if (row === undefined || row['dead'] !== 0) throw new FencedError(`runner ${batch.runner} was declared dead`);
      const made = madeBy(batch.transitions);
      const pins = this.#driver.drive(lockPinnedVersions(made, this.#driver.dialect));
      checkPins(pins, made);
      for (const transition of batch.transitions) {
        try {
          this.#write(batch.runner, transition, pins, result);
        } catch (error) {
          if (isDataError(error)) throw new RefusedDataError(transition.id, error);
          throw error;
        }
      }
    });
    return result;
  }

  #write(runner: string, transition: Transition, pins: Pins, result: Result): void {
    const { id, release, create } = transition;
    let inbox = 0;
    let by: string | null = runner;
    if (create !== null) {
      const moved = this.#insert(runner, create, pins);
      if (moved) result.moved.push(id);
      if (moved || !create.owned) by = null;
    } else {
      const row = this.#owned.get(id, runner, transition.epoch);
      if (row === undefined) {
        result.lost.push(id);
        return;
      }
      inbox = Number(row['inbox_seq']);
    }
    for (const task of transition.effects?.itemsDropped ?? []) this.#dropItems(id, task);
    for (const state of transition.tasks) this.#task.run(...taskExecutions.params({ executionId: id, ...state }));
    for (const step of transition.steps) this.#step.run(...steps.params({ executionId: id, ...step }));
    for (const log of transition.logs) this.#log.run(...logs.params({ executionId: id, ...log }));
    for (const event of transition.events) this.#writeEvent(id, event, by);
    if (transition.parsedInput !== null) this.#parsed.run(id, transition.parsedInput);
    if (transition.progressed) this.#progressed.run(id);
    if (transition.loadAttempts !== null) this.#loads.run(id, transition.loadAttempts);
    if (transition.inboxAcked !== null) this.#taken.run(id, transition.inboxAcked);
    if (transition.effects !== null) {
      this.#carryOut(id, transition.effects, pins);
      this.#offers(transition, transition.effects, result);
    }
    if (release === null) return;
    // a child that was cancelled just now has sent its parent a message
    if ((transition.effects?.cancelChildren.length ?? 0) > 0) {
      inbox = Number(this.#owned.get(id, runner, transition.epoch)?.['inbox_seq'] ?? inbox);
    }
    if (inbox === release.inboxSeen) this.#release(id, release, runner);
    else result.kept.push(id);
  }

  /** Writes the effects of a transition beyond its own tasks. */
  #carryOut(id: string, { messagesDone, children, cancelChildren, itemsCancelled }: Effects, pins: Pins): void {
    for (const n of messagesDone) this.#mail.run(id, n);
    for (const create of children) this.#driver.drive(createExecution(create, pins));
    for (const child of cancelChildren) {
      this.#driver.drive(cancelExecution({ dialect: this.#driver.dialect, now: this.#now() }, child, null));
    }
    for (const { task, at } of itemsCancelled) {
      const text = `update task_executions set status = 'cancelled', ended_at = $3
        where execution_id = $1 and task = $2 and item >= 0 and status = 'pending'`;
      this.#driver.drive(run(text, id, task, at));
    }
  }

  #offers({ id, epoch }: Transition, { offers: list, offersWithdrawn, offersEnded }: Effects, result: Result): void {
    for (const { task, item } of offersEnded) this.#offerEnded.run(id, task, item);
    for (const { task, item } of offersWithdrawn) {
      if (this.#offerWithdrawn.run(id, task, item).changes === 0) result.offersTaken.push({ id, task, item });
    }
    for (const offer of list) this.#offer.run(...offers.params({ executionId: id, epoch, ...offer }));
  }

  #dropItems(id: string, task: string): void {
    this.#driver.drive(
      run('delete from task_executions where execution_id = $1 and task = $2 and item >= 0', id, task),
    );
  }

  /**
   * Inserts an execution; returns true if its channel has moved, so that it is left for a runner of the new version.
   */
  #insert(runner: string, create: NewExecution, pins: Pins): boolean {
    const now = pins.settled(create);
    const moved = now.buildId !== create.buildId;
    this.#create.run(...newExecutions.params(newExecutionRow(now, create.owned && !moved ? runner : null)));
    for (const tag of tagRows(create)) this.#tag.run(...executionTags.params(tag));
    return moved;
  }

  #writeEvent(id: string, event: NewEvent, runner: string | null): void {
    this.#event.run(...events.params(eventRow(id, event, runner)));
  }

  #release(id: string, letGo: ExecutionRelease, runner: string): void {
    const { status, reason, wakeAt, endedAt, output, error, errorTask, parent } = letGo;
    this.#letGo.run(status, reason, wakeAt, endedAt, output, error, errorTask, id);
    for (const event of letGo.events) this.#writeEvent(id, event, runner);
    if (endedAt === null) return;
    if (letGo.inboxSeen > 0) this.#allMail.run(id);
    if (parent !== null) this.#driver.drive(childEnded({ dialect: this.#driver.dialect, now: endedAt }, parent, id));
  }
}
