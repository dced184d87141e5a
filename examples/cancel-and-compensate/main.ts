import { Runner } from 'cloacina';
import { makeAgency } from './agency.ts';
import { cancelTrip, trips } from './trip.ts';

/** Runs one trip, and says what became of it. */
async function show(title: string, options: Parameters<typeof makeAgency>[0], cancelIt = false): Promise<void> {
  const { agency, said, bookings } = makeAgency(options);
  const trip = trips(agency);
  await using runner = await Runner.open('sqlite::memory:', { workflows: [trip] });
  const execution = await runner.start(trip, { traveller: 'Ada' });
  if (cancelIt) {
    while (!said.includes('car: waiting for the supplier')) await new Promise((resolve) => setTimeout(resolve, 10));
    await cancelTrip(runner, execution.id);
  }
  const { output } = await execution.result();
  console.log(`${title}:`, said.join(', '));
  console.log(`  booked: ${output.booked}; undone: ${output.undone.length}; left: ${bookings.size}`);
  if (output.why !== '') console.log(`  ${output.why.replace(execution.id, '...')}`);
}

await show('all goes well', {});
await show('no car', { soldOut: 'car' });
await show('cancelled', { slow: 'car' }, true);
