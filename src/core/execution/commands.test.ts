import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { effectOf, isCancelledByName, openTasks, reopenedTasks } from './commands.ts';
import type { Command, CommandEffect } from './commands.ts';
import { executionStatuses, isTaskEnded } from './states.ts';

const commands: readonly Command[] = ['cancel', 'pause', 'resume', 'retry'];

function effects(status: (typeof executionStatuses)[number], reason: string | null = null): readonly CommandEffect[] {
  return commands.map((command) => effectOf(command, { status, owner: null, reason }));
}

describe('engine.md, Control: the effect of a request', () => {
  it('without an owner it is carried out, refused or done already, by the state', () => {
    assert.deepEqual(
      executionStatuses.map((status) => [status, ...effects(status)]),
      [
        ['pending', 'apply', 'apply', 'refused', 'refused'],
        ['running', 'apply', 'apply', 'refused', 'refused'],
        ['waiting', 'apply', 'apply', 'refused', 'refused'],
        ['paused', 'apply', 'done', 'apply', 'refused'],
        ['completed', 'ended', 'ended', 'ended', 'refused'],
        ['failed', 'ended', 'ended', 'ended', 'apply'],
        ['cancelled', 'ended', 'ended', 'ended', 'apply'],
      ],
    );
  });

  it('a held execution is retried; one whose definition has changed is not resumed', () => {
    assert.deepEqual(effects('paused', 'DEFINITION_CHANGED'), ['apply', 'done', 'refused', 'apply']);
    assert.deepEqual(effects('paused', 'CRASH_LOOP'), ['apply', 'done', 'apply', 'apply']);
    assert.deepEqual(effects('paused', 'operator'), ['apply', 'done', 'apply', 'refused']);
  });

  it('an owner gets a message, and no retry', () => {
    const owned = { status: 'running', owner: 'r1', reason: null } as const;
    assert.deepEqual(
      commands.map((command) => effectOf(command, owned)),
      ['post', 'post', 'post', 'refused'],
    );
  });
});

describe('engine.md, Control: the tasks of a cancellation and of a retry', () => {
  it('a cancellation names each open task, and of the items those that began', () => {
    assert.deepEqual(
      openTasks.map((status) => [status, isCancelledByName(status, false), isCancelledByName(status, true)]),
      [
        ['pending', true, false],
        ['running', true, true],
        ['waiting', true, true],
      ],
    );
    assert.ok(reopenedTasks.every((status) => isTaskEnded(status) && !isCancelledByName(status, false)));
  });
});
