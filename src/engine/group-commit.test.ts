import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { FencedError } from '../store/transition.ts';
import { ManualClock } from '../testing/clock.ts';
import type { BatchPlace } from './commit-lane.ts';
import { GroupCommit } from './group-commit.ts';

interface Sent {
  readonly place: BatchPlace;
  readonly members: readonly string[];
  readonly answer: (error?: Error) => void;
}

/** A group commit of two lanes; each batch waits for its answer. */
function open(): {
  readonly group: GroupCommit<string, string, undefined>;
  readonly clock: ManualClock;
  readonly sent: Sent[];
  readonly written: string[];
  readonly away: boolean[];
  readonly waits: (number | undefined)[];
  readonly fences: { count: number };
} {
  const clock = new ManualClock();
  const sent: Sent[] = [];
  const [written, away, waits]: [string[], boolean[], (number | undefined)[]] = [[], [], []];
  const fences = { count: 0 };
  const ignore = (): void => undefined;
  const group = new GroupCommit<string, string, undefined>({
    lanes: 2,
    clock,
    logger: { debug: ignore, info: ignore, warn: ignore, error: ignore },
    noun: 'commits',
    change: (member) => member,
    sizeOf: (change) => change.length,
    write: (place, members) =>
      new Promise((resolve, reject) => {
        const answer = (error?: Error): void => (error === undefined ? resolve(undefined) : reject(error));
        sent.push({ place, members: [...members], answer });
      }),
    written: (members) => void written.push(...members),
    refused: ignore,
    onFenced: () => void fences.count++,
    onAway: (isAway) => void away.push(isAway),
    onWaits: (since) => void waits.push(since),
  });
  return { group, clock, sent, written, away, waits, fences };
}

const turns = async (): Promise<void> => {
  for (let i = 0; i < 5; i++) await setImmediate();
};

const membersOf = (sent: readonly Sent[]): (readonly string[])[] => sent.map(({ members }) => members);

describe('durability.md, the journal: several commits at a time', () => {
  it('a change that comes during a commit is sent at once, in the other lane', async () => {
    const { group, sent } = open();
    group.mark('a');
    await turns();
    group.mark('b');
    await turns();
    group.mark('c');
    await turns();
    assert.deepEqual(membersOf(sent), [['a'], ['b']], 'both lanes are taken');
    assert.deepEqual(
      sent.map(({ place }) => place),
      [
        { lane: 0, n: 1 },
        { lane: 1, n: 1 },
      ],
    );
    sent[1]!.answer();
    await turns();
    assert.deepEqual([sent[2]!.members, sent[2]!.place], [['c'], { lane: 1, n: 2 }]);
  });

  it('the changes of one member are written one after another', async () => {
    const { group, sent, written } = open();
    group.mark('a');
    await turns();
    group.mark('a');
    group.mark('b');
    await turns();
    assert.deepEqual(membersOf(sent), [['a'], ['b']], "'a' waits for its first batch");
    assert.ok(group.holds('a'));
    sent[0]!.answer();
    await turns();
    assert.deepEqual([membersOf(sent), written], [[['a'], ['b'], ['a']], ['a']]);
  });

  it('the free lanes share many changes, and few stay together', async () => {
    const { group, sent } = open();
    const mark = (count: number): void => {
      for (let i = 0; i < count; i++) group.mark(`${sent.length} ${i}`);
    };
    mark(60);
    await turns();
    assert.deepEqual(
      sent.map(({ members }) => members.length),
      [60],
    );
    sent[0]!.answer();
    await turns();
    mark(500);
    await turns();
    assert.deepEqual(
      sent.slice(1).map(({ members }) => members.length),
      [250, 250],
    );
  });

  it('while a batch fails no other begins, and the database is away until that batch is written', async () => {
    const { group, clock, sent, away, written } = open();
    group.mark('a');
    await turns();
    group.mark('b');
    await turns();
    sent[0]!.answer(new Error('the database is away'));
    await turns();
    sent[1]!.answer();
    group.mark('c');
    await turns();
    assert.deepEqual([away, written, sent.length], [[true], ['b'], 2]);
    await clock.advance(20);
    assert.deepEqual([sent[2]!.members, sent[2]!.place], [['a'], { lane: 0, n: 1 }], 'the same batch again');
    sent[2]!.answer();
    await turns();
    assert.deepEqual([away, sent[3]!.members], [[true, false], ['c']]);
  });

  it('a commit has had no answer since the oldest one was sent', async () => {
    const { group, clock, sent, waits } = open();
    const start = clock.monotonic();
    group.mark('a');
    await turns();
    await clock.advance(100);
    group.mark('b');
    await turns();
    assert.deepEqual([group.waitsSince, waits], [start, [start]]);
    sent[0]!.answer();
    await turns();
    assert.deepEqual(group.waitsSince, start + 100);
    sent[1]!.answer();
    await turns();
    assert.deepEqual(waits, [start, start + 100, undefined]);
    await group.settled();
  });

  it('a death that both lanes hear of is reported once', async () => {
    const { group, sent, fences } = open();
    group.mark('a');
    await turns();
    group.mark('b');
    await turns();
    for (const { answer } of sent) answer(new FencedError('dead'));
    await group.settled();
    assert.equal(fences.count, 1);
  });
});
