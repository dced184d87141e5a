import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { testRunner } from 'cloacina/testing';
import { makeAgency } from './agency.ts';
import { cancelTrip, trips } from './trip.ts';
import type { Agency } from './trip.ts';

const ada = { traveller: 'Ada' };

describe('trip', () => {
  it('books all of it', async () => {
    const { agency, bookings } = makeAgency();
    const trip = trips(agency);
    await using t = await testRunner({ workflows: [trip] });
    const outcome = await t.run(trip, ada);
    assert.ok(outcome.status === 'completed');
    assert.deepEqual(outcome.output.tickets, ['flight ticket', 'hotel ticket', 'car ticket']);
    assert.equal(bookings.size, 3);
  });

  it('undoes what was booked, the last first, where a step fails for good', async () => {
    const { agency, bookings, said } = makeAgency({ soldOut: 'car' });
    const trip = trips(agency);
    await using t = await testRunner({ workflows: [trip] });
    const outcome = await t.run(trip, ada);
    assert.ok(outcome.status === 'completed');
    assert.deepEqual([outcome.output.booked, outcome.output.undone], [false, ['hotel', 'flight']]);
    assert.match(outcome.output.why, /there is no car left/);
    assert.deepEqual(said.slice(-3), ['car: nothing to cancel', 'hotel cancelled', 'flight cancelled']);
    assert.equal(bookings.size, 0);
  });

  it('cancelled, the step that runs ends by its signal, and what it may have booked is undone too', async () => {
    const { agency, bookings, said } = makeAgency({ slow: 'car' });
    const trip = trips(agency);
    await using t = await testRunner({ workflows: [trip] });
    const execution = await t.runner.start(trip, ada);
    await t.advance('1s');
    assert.equal(bookings.size, 3);
    await cancelTrip(t.runner, execution.id);
    const outcome = await t.finish(execution);
    assert.ok(outcome.status === 'completed');
    assert.deepEqual(outcome.output.undone, ['car', 'hotel', 'flight']);
    assert.match(outcome.output.why, /was cancelled/);
    assert.ok(said.includes('car: asked no further'));
    assert.equal(bookings.size, 0);
    const { items } = await t.runner.executions.list({ status: 'cancelled' });
    assert.deepEqual(
      items.map(({ workflow }) => workflow),
      ['booking'],
    );
  });

  it('tries again for as long as something cannot be undone', async () => {
    const { agency, bookings } = makeAgency({ soldOut: 'hotel' });
    let tries = 0;
    const closed: Agency = {
      ...agency,
      cancel: async (part, reference) => {
        if (++tries <= 12) throw new Error('the agency is closed');
        return agency.cancel(part, reference);
      },
    };
    const trip = trips(closed);
    await using t = await testRunner({ workflows: [trip] });
    const outcome = await t.run(trip, ada);
    assert.deepEqual(outcome.status === 'completed' && outcome.output.undone, ['flight']);
    assert.equal(bookings.size, 0);
  });
});
