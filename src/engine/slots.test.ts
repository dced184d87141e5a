import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Slots } from './slots.ts';

describe('slots bound the number of running task functions', () => {
  it('a request starts at once while a slot is free, then one starts for each returned slot', () => {
    const slots = new Slots(2);
    const started: number[] = [];
    for (let i = 0; i < 5; i++) slots.request(0, 't', () => started.push(i));
    assert.deepEqual([started, slots.active], [[0, 1], 2]);
    slots.release();
    assert.deepEqual(started, [0, 1, 2]);
    slots.release();
    slots.release();
    slots.release();
    slots.release();
    assert.deepEqual([started, slots.active], [[0, 1, 2, 3, 4], 0]);
  });

  it('the highest priority starts first, then the oldest request; no request overtakes a waiting one', () => {
    const slots = new Slots(1);
    const started: string[] = [];
    slots.request(0, 't', () => started.push('first'));
    for (const [name, priority] of [
      ['a', 0],
      ['b', 9],
      ['c', -5],
      ['d', 9],
      ['e', 0],
    ] as const) {
      slots.request(priority, 't', () => started.push(name));
    }
    for (let i = 0; i < 6; i++) slots.release();
    assert.deepEqual(started, ['first', 'b', 'd', 'a', 'e', 'c']);
  });

  it('within a priority tenants take turns, and requests of one tenant keep their order', () => {
    const slots = new Slots(1);
    const started: string[] = [];
    slots.request(0, 'a', () => started.push('first'));
    for (const [tenant, names] of [
      ['a', 'a1 a2 a3 a4'],
      ['b', 'b1 b2'],
      ['c', 'c1'],
    ] as const) {
      for (const name of names.split(' ')) slots.request(0, tenant, () => started.push(name));
    }
    slots.request(1, 'a', () => started.push('urgent'));
    for (let i = 0; i < 8; i++) slots.release();
    assert.deepEqual(started, ['first', 'urgent', 'a1', 'b1', 'c1', 'a2', 'b2', 'a3', 'a4']);
  });

  it('a cancelled waiting request takes no slot', () => {
    const slots = new Slots(1);
    const started: string[] = [];
    slots.request(0, 't', () => started.push('a'));
    slots.request(0, 't', () => started.push('b'))!.cancelled = true;
    slots.request(0, 't', () => started.push('c'));
    slots.release();
    assert.deepEqual([started, slots.active], [['a', 'c'], 1]);
    slots.release();
    assert.equal(slots.active, 0);
    slots.request(0, 't', () => started.push('d'));
    assert.deepEqual(started, ['a', 'c', 'd']);
  });

  it('held slots start nothing, and afterwards every free slot is used', () => {
    const slots = new Slots(2);
    const started: number[] = [];
    slots.hold(true);
    for (let i = 0; i < 3; i++) slots.request(0, 't', () => started.push(i));
    assert.deepEqual(started, []);
    slots.hold(false);
    assert.deepEqual(started, [0, 1]);
  });

  it('a started request may return its slot and ask again at once', () => {
    const slots = new Slots(1);
    let ran = 0;
    const again = (): void => {
      if (++ran < 1000) slots.request(0, 't', again);
      slots.release();
    };
    slots.request(0, 't', again);
    assert.deepEqual([ran, slots.active], [1000, 0]);
  });
});
