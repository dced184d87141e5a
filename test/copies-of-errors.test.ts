import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import * as library from '../src/index.ts';
import { openRig, tempFolder } from '../src/testing/engine-rig.ts';
import type { Cleanup } from '../src/testing/engine-rig.ts';
import { copyOfLibrary } from './copies/copy.ts';

type ErrorClass = abstract new (...args: never[]) => Error;

/** The classes of errors that the library exports, by name. */
function errorClasses(from: typeof library): readonly (readonly [string, ErrorClass])[] {
  const exported: readonly (readonly [string, unknown])[] = Object.entries(from);
  return exported.filter((entry): entry is readonly [string, ErrorClass] => {
    return typeof entry[1] === 'function' && entry[1].prototype instanceof Error;
  });
}

/** An instance of a class, whatever its constructor takes. */
function instanceOf(type: ErrorClass): Error {
  return Object.create(type.prototype as object) as Error;
}

let copy: typeof library;
before(async (t) => {
  copy = await copyOfLibrary(t as Cleanup);
});

describe('interfaces.md, One set of verbs: a class of another copy of the library counts as the same', () => {
  it('an error is an instance of its own class and of its parents in both copies, and of no other', () => {
    const [here, there] = [errorClasses(library), new Map(errorClasses(copy))];
    assert.ok(here.length > 25);
    for (const [name, type] of here) {
      const [own, other] = [instanceOf(type), instanceOf(there.get(name)!)];
      for (const [otherName, otherType] of here) {
        assert.equal(other instanceof otherType, own instanceof otherType, `${name} of a copy and ${otherName}`);
        assert.equal(
          own instanceof there.get(otherName)!,
          own instanceof otherType,
          `${name} and ${otherName} of a copy`,
        );
      }
    }
  });

  it("a user's own class accepts its own instances only", () => {
    class Declined extends library.NonRetryableError {}
    assert.ok(new Declined() instanceof Declined);
    assert.ok(new Declined() instanceof copy.NonRetryableError);
    assert.equal(new library.NonRetryableError() instanceof Declined, false);
    assert.equal(new copy.NonRetryableError() instanceof Declined, false);
    for (const value of [undefined, null, 'text', {}, Object.create(null)]) {
      assert.equal(value instanceof library.CloacinaError, false);
    }
  });

  async function attemptsOf(t: Cleanup, thrown: () => Error): Promise<number> {
    let attempts = 0;
    const w = library.workflow('w');
    w.task('charge', { retry: { attempts: 3, delay: 0, jitter: 0 } }, () => {
      attempts++;
      throw thrown();
    });
    const { client } = await openRig(t, { workflows: [w] });
    await (await client.start(w)).outcome();
    return attempts;
  }

  it('a NonRetryableError fails the task at once', async (t) => {
    assert.equal(await attemptsOf(t, () => new copy.NonRetryableError('the card is stolen')), 1);
  });

  it('an error that recurs with every attempt is not retried', async (t) => {
    assert.equal(await attemptsOf(t, () => new copy.NotSerializableError('output', 'a Date is not JSON')), 1);
  });

  it('a RetryAfterError sets the delay', async (t) => {
    const w = library.workflow('w');
    w.task('charge', { retry: { attempts: 2, delay: 0 } }, () => {
      throw new copy.RetryAfterError(700);
    });
    const { client, clock } = await openRig(t, { workflows: [w] });
    const { id } = await client.start(w);
    await clock.advance(0);
    const events = await client.executions.events(id);
    const { at, data } = events.find(({ type }) => type === 'task.retrying')!;
    assert.equal(Date.parse((data as { at: string }).at) - at, 700);
  });

  it('the failure of an execution is recognized', async (t) => {
    const w = copy.workflow('w');
    w.task('t', { retry: { attempts: 1 } }, () => {
      throw new Error('no');
    });
    await using runner = await copy.Runner.open(`sqlite:${tempFolder(t)}/app.db`, { workflows: [w] });
    await assert.rejects(runner.execute(w), (error) => error instanceof library.ExecutionFailedError);
  });
});

describe('engine.md, What a graph means: settled() of another copy of the library', () => {
  it('its need takes any end of the task, and a workflow may return it', async (t) => {
    const w = library.workflow('w');
    const first = w.task('first', { retry: { attempts: 1 } }, () => {
      throw new Error('no');
    });
    const after = w.task('after', { needs: { first: copy.settled(first) } }, ({ needs }) => needs.first.status);
    const done = w.returns(copy.settled(after));
    const { client } = await openRig(t, { workflows: [done] });
    const outcome = await (await client.start(done)).outcome();
    assert.deepEqual(outcome.status === 'completed' && outcome.output, { status: 'completed', output: 'failed' });
  });
});
