import { settled, unchecked, workflow } from 'cloacina';
import type { Client } from 'cloacina';

export type Part = 'flight' | 'hotel' | 'car';

/** What is booked elsewhere. Both take a reference of ours, so both may be repeated. */
export interface Agency {
  readonly book: (part: Part, reference: string, signal: AbortSignal) => Promise<string>;
  /** Whether there was something to cancel. */
  readonly cancel: (part: Part, reference: string) => Promise<boolean>;
}

/**
 * Books a trip, or nothing of it. Cancelling an execution ends all of its open tasks, so what undoes must not be among
 * them: the steps are a child of their own, and the parent undoes them however the child ends, failed or cancelled.
 */
export function trips(agency: Agency) {
  const booking = workflow('booking', { input: unchecked<{ reference: string }>() });
  const patience = { timeout: '1m', retry: { attempts: 3, delay: '1s' } };
  const flight = booking.task('flight', patience, ({ input, signal }) => {
    return agency.book('flight', input.reference, signal);
  });
  const hotel = booking.task('hotel', { ...patience, needs: { flight } }, ({ input, signal }) => {
    return agency.book('hotel', input.reference, signal);
  });
  const car = booking.task('car', { ...patience, needs: { hotel } }, ({ input, signal }) => {
    return agency.book('car', input.reference, signal);
  });
  const tickets = booking.task('tickets', { needs: { flight, hotel, car } }, ({ needs }) => Object.values(needs));
  const booked = booking.returns(tickets);

  const trip = workflow('trip', { input: unchecked<{ traveller: string }>() });
  const steps = trip.child('book', booked, { input: ({ executionId }) => ({ reference: executionId }) });

  // the last step first; what cannot be undone now is tried for hours
  const again = { retry: { attempts: 20, delay: '5s', maxDelay: '30m' } };
  const noCar = trip.task(
    'undo car',
    { ...again, needs: { steps: settled(steps) }, when: ({ needs }) => needs.steps.status !== 'completed' },
    ({ executionId }) => agency.cancel('car', executionId),
  );
  const noHotel = trip.task('undo hotel', { ...again, needs: { noCar } }, ({ executionId }) => {
    return agency.cancel('hotel', executionId);
  });
  const noFlight = trip.task('undo flight', { ...again, needs: { noHotel } }, ({ executionId }) => {
    return agency.cancel('flight', executionId);
  });

  const answer = trip.task(
    'answer',
    { needs: { steps: settled(steps), car: settled(noCar), hotel: settled(noHotel), flight: settled(noFlight) } },
    ({ needs: { steps: ended, ...undoing } }) => {
      if (ended.status === 'completed') return { booked: true, tickets: ended.output, undone: [], why: '' };
      const undone = Object.entries(undoing).filter(([, undo]) => undo.status === 'completed' && undo.output);
      const why = ended.status === 'failed' ? ended.error.message : ended.status;
      return { booked: false, tickets: [], undone: undone.map(([part]) => part), why };
    },
  );
  return trip.returns(answer);
}

/** Cancels the booking of a trip. The trip itself goes on: it undoes what was booked. */
export async function cancelTrip(client: Client, id: string): Promise<void> {
  const events = await client.executions.events(id);
  const begun = events.find(({ type, task }) => type === 'task.waiting' && task === 'book');
  if (begun === undefined) throw new Error(`trip ${id} has not begun to book`);
  await client.cancel((begun.data as { readonly child: string }).child);
}
