import { once } from 'node:events';
import type { Agency, Part } from './trip.ts';

/** A travel agency in memory: what it has booked, and what it says while it works. */
export function makeAgency(options: { readonly soldOut?: Part; readonly slow?: Part } = {}) {
  const bookings = new Set<string>();
  const said: string[] = [];
  const agency: Agency = {
    book: async (part, reference, signal) => {
      if (part === options.soldOut) {
        said.push(`no ${part}`);
        throw new Error(`there is no ${part} left`);
      }
      bookings.add(`${reference} ${part}`);
      if (part === options.slow) {
        said.push(`${part}: waiting for the supplier`);
        // until somebody does not want it any more; the booking was made all the same
        await once(signal, 'abort');
        said.push(`${part}: asked no further`);
        signal.throwIfAborted();
      }
      said.push(`${part} booked`);
      return `${part} ticket`;
    },
    cancel: async (part, reference) => {
      const had = bookings.delete(`${reference} ${part}`);
      said.push(had ? `${part} cancelled` : `${part}: nothing to cancel`);
      return had;
    },
  };
  return { agency, bookings, said };
}
