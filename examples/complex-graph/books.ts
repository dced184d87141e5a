import { setTimeout as wait } from 'node:timers/promises';

export type Currency = 'EUR' | 'USD' | 'GBP';

/** Amounts are whole cents: sums of them are exact. */
export interface Entry {
  readonly id: string;
  readonly cents: number;
  readonly currency: Currency;
}

export type Source = 'sales' | 'refunds' | 'bills' | 'payroll' | 'bank' | 'rates';

const entries: Readonly<Record<Exclude<Source, 'rates'>, readonly Entry[]>> = {
  sales: [
    { id: 'S-101', cents: 480_000, currency: 'EUR' },
    { id: 'S-102', cents: 250_000, currency: 'USD' },
    { id: 'S-103', cents: 120_000, currency: 'GBP' },
    { id: 'S-104', cents: 95_000, currency: 'EUR' },
  ],
  refunds: [{ id: 'S-104', cents: 15_000, currency: 'EUR' }],
  bills: [
    { id: 'B-17', cents: 90_000, currency: 'EUR' },
    { id: 'B-18', cents: 60_000, currency: 'USD' },
  ],
  payroll: [
    { id: 'P-1', cents: 310_000, currency: 'EUR' },
    { id: 'P-2', cents: 275_000, currency: 'EUR' },
  ],
  bank: [
    { id: 'in', cents: 930_000, currency: 'EUR' },
    { id: 'out', cents: -729_000, currency: 'EUR' },
  ],
};

/** Euros for one unit. */
const rates: Readonly<Record<Currency, number>> = { EUR: 1, USD: 0.9, GBP: 1.2 };

/** How long each of the systems takes to answer. */
const answerMs = 40;

/** What the shop, the bank and the payroll office of a small company answer for a month. */
export async function ask(source: Exclude<Source, 'rates'>, signal: AbortSignal): Promise<readonly Entry[]> {
  await wait(answerMs, undefined, { signal });
  return entries[source];
}

export async function askRates(signal: AbortSignal): Promise<Readonly<Record<Currency, number>>> {
  await wait(answerMs, undefined, { signal });
  return rates;
}
