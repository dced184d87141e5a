import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ManualClock } from '../testing/clock.ts';
import { DatabaseClock, settledTime } from './clock.ts';

/** The system's clock of a test, and a database that is on another machine. */
class Machines {
  readonly system = new ManualClock();
  reads = 0;
  #databaseAhead = 0;

  readonly clock = new DatabaseClock(async () => {
    this.reads++;
    return Promise.resolve({ now: this.databaseNow, at: this.system.monotonic() });
  }, this.system);

  get databaseNow(): number {
    return Date.UTC(2030, 0, 1) + this.system.monotonic() + this.#databaseAhead;
  }

  /** A machine that sleeps stops its monotonic clock. */
  sleep(ms: number): void {
    this.system.setNow(this.system.now() + ms);
    this.#databaseAhead += ms;
  }
}

describe('durability.md, Per database: the clock of the database', () => {
  it('it goes on with the monotonic clock when the clock of the system is set', async () => {
    const { clock, system } = new Machines();
    await clock.readAgain();
    const before = clock.now();
    system.setNow(system.now() + 3_600_000);
    assert.equal(clock.now(), before);
    system.setNow(0);
    await system.advance(1234);
    assert.equal(clock.now(), before + 1234);
  });

  it('it is read again after the machine slept, and a value that stays waits for that', async () => {
    const machines = new Machines();
    const { clock } = machines;
    await clock.readAgain();
    assert.equal(clock.settled(), undefined);
    machines.sleep(8 * 3_600_000);
    assert.equal(await settledTime(clock), machines.databaseNow);
    assert.equal(clock.settled(), undefined);
    machines.sleep(3_600_000);
    clock.now();
    await machines.system.settle();
    assert.equal(clock.now(), machines.databaseNow);
    assert.equal(machines.reads, 3);
  });

  it('it is read now and then where it is used, since clocks of two machines drift apart', async () => {
    const machines = new Machines();
    const { clock, system } = machines;
    await clock.readAgain();
    await system.advance('1d');
    assert.equal(machines.reads, 1, 'it is not used');
    clock.now();
    clock.now();
    await system.settle();
    assert.equal(machines.reads, 2);
  });
});
