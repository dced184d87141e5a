// Writes simple-demo/src/orders.csv: 1,000 order records of 2025, 50 of them broken the way real exports are.
// The same bytes on every run: what varies comes from a seeded generator.
import { writeFileSync } from 'node:fs';

const columns = [
  'order_id',
  'order_date',
  'customer',
  'country',
  'items',
  'amount',
  'currency',
  'status',
  'note',
] as const;
const recordCount = 1000;
const seed = 20250101;

/** mulberry32: 32 bits of state, evenly spread; https://github.com/bryc/code/blob/master/jshash/PRNGs.md */
function generator(state: number): () => number {
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Market {
  readonly country: string;
  readonly currency: string;
  readonly weight: number;
  readonly customers: readonly string[];
}

const markets: readonly Market[] = [
  {
    country: 'DE',
    currency: 'EUR',
    weight: 22,
    customers: ['Anna Schröder', 'Müller, Söhne & Co. KG', 'Jonas Weiß', 'Buchhandlung am Dom', 'Özlem Kaya'],
  },
  {
    country: 'FR',
    currency: 'EUR',
    weight: 14,
    customers: ['Camille Lefèvre', "Librairie L'Écume", 'Durand, Petit et Associés', 'Hugo Marchand'],
  },
  {
    country: 'NL',
    currency: 'EUR',
    weight: 7,
    customers: ['Sanne de Vries', 'Van den Berg B.V.', 'Daan Bakker'],
  },
  {
    country: 'IE',
    currency: 'EUR',
    weight: 5,
    customers: ["Aoife O'Brien", 'Galway Print Works Ltd', 'Cian Murphy'],
  },
  {
    country: 'US',
    currency: 'USD',
    weight: 27,
    customers: [
      'Grace Kim',
      'Smith, Jones & Partners, LLP',
      'Marcus Reed',
      'Riverside "Hub" Coworking',
      'Elena Torres',
    ],
  },
  {
    country: 'GB',
    currency: 'GBP',
    weight: 15,
    customers: ['Oliver Hughes', 'Harbour & Vale Ltd', 'Priya Nair', 'Eleanor Whitcombe'],
  },
  {
    country: 'JP',
    currency: 'JPY',
    weight: 10,
    customers: ['佐藤 美咲', '株式会社アオイ', 'Kenji Yamamoto', 'Tanaka, Inc.'],
  },
];

/** What was ordered, and its price in US cents. */
const products: readonly (readonly [string, number])[] = [
  ['Notebook A5 dotted', 1290],
  ['Fountain pen, medium nib', 4850],
  ['Ink 50 ml "Midnight"', 1675],
  ['27" monitor', 28900],
  ['Monitor arm', 11900],
  ['Desk lamp', 6450],
  ['Keyboard, ISO layout', 13999],
  ['USB-C cable 2 m', 1499],
  ['Standing desk 160 x 80', 64900],
  ['Office chair', 42500],
  ['Label printer', 9795],
  ['Paper A4, 2500 sheets', 3180],
];

/** Units of a currency's smallest coin for one US cent, and how many decimals it has (ISO 4217). */
const prices: Readonly<Record<string, { readonly rate: number; readonly decimals: number }>> = {
  EUR: { rate: 0.92, decimals: 2 },
  USD: { rate: 1, decimals: 2 },
  GBP: { rate: 0.79, decimals: 2 },
  JPY: { rate: 1.5, decimals: 0 },
};

const statuses: readonly (readonly [string, number])[] = [
  ['delivered', 74],
  ['shipped', 14],
  ['paid', 12],
];

const notes = [
  'Leave with the neighbour',
  'Gift wrap, please',
  'Call before delivery:\n+1 555 0100',
  'Invoice to:\nAccounts, 2nd floor\nRoom 204',
  'Customer asked for "express", refunded 5.00 by voucher',
  'PO 4711; cost centre 20',
];

/** Orders grow towards December. */
const monthWeights: readonly number[] = [70, 64, 72, 74, 78, 76, 72, 68, 84, 92, 118, 132];

type Order = Record<(typeof columns)[number], string>;

let random = generator(seed);

function whole(below: number): number {
  return Math.floor(random() * below);
}

function pick<T>(list: readonly T[]): T {
  return list[whole(list.length)]!;
}

function weighted<T>(list: readonly T[], weightOf: (item: T) => number): T {
  let left = random() * list.reduce((sum, item) => sum + weightOf(item), 0);
  return list.find((item) => (left -= weightOf(item)) < 0) ?? list.at(-1)!;
}

function twoDigits(value: number): string {
  return String(value).padStart(2, '0');
}

function makeDates(): string[] {
  const months = monthWeights.map((weight, index) => ({ month: index + 1, weight }));
  const dates = Array.from({ length: recordCount }, () => {
    const { month } = weighted(months, ({ weight }) => weight);
    const days = new Date(Date.UTC(2025, month, 0)).getUTCDate();
    return `2025-${twoDigits(month)}-${twoDigits(1 + whole(days))}`;
  });
  return dates.toSorted();
}

function writeAmount(minor: number, decimals: number): string {
  const digits = String(minor).padStart(decimals + 1, '0');
  const units = digits.slice(0, digits.length - decimals);
  // one in four of the tools that fed the export groups thousands
  const grouped = random() < 0.25 ? units.replaceAll(/\B(?=(\d{3})+$)/g, ',') : units;
  return decimals === 0 ? grouped : `${grouped}.${digits.slice(-decimals)}`;
}

function makeOrder(date: string, index: number): Order {
  const market = weighted(markets, ({ weight }) => weight);
  const { rate, decimals } = prices[market.currency]!;
  // a product that is drawn again replaces itself: no order names one twice
  const lines = new Map(Array.from({ length: 1 + whole(3) }, () => [pick(products), 1 + whole(3)]));
  const cents = lines.entries().reduce((sum, [[, price], quantity]) => sum + price * quantity, 0);
  return {
    order_id: `SO-${String(104_200 + index)}`,
    order_date: date,
    customer: pick(market.customers),
    country: market.country,
    items: [...lines].map(([[product], quantity]) => `${quantity} x ${product}`).join('; '),
    amount: writeAmount(Math.round(cents * rate), decimals),
    currency: market.currency,
    status: weighted(statuses, ([, weight]) => weight)[0],
    note: random() < 0.12 ? pick(notes) : '',
  };
}

/** Untidy and still valid: what a reader must forgive. */
function loosen(order: Order): void {
  const kind = random();
  if (kind < 0.02) order.amount = ` ${order.amount} `;
  else if (kind < 0.04) order.customer = `${order.customer}  `;
  else if (kind < 0.055) order.currency = order.currency.toLowerCase();
  else if (kind < 0.065) order.order_date = ` ${order.order_date}`;
  // a spreadsheet that held the file dropped zeros at the end
  else if (kind < 0.2 && order.amount.includes('.')) order.amount = order.amount.replace(/\.?0+$/, '');
}

type Fault = (order: Order, earlier: Order) => void;

/** 50 records: each entry breaks one. */
const faults: readonly Fault[] = [
  // the amount is missing: 12, of which 2 have no known currency either
  ...Array.from({ length: 9 }, (): Fault => (order) => (order.amount = '')),
  (order) => (order.amount = '   '),
  (order) => Object.assign(order, { amount: '', currency: 'EURO' }),
  (order) => Object.assign(order, { amount: '', currency: '' }),
  // it is no amount: 7
  ...['N/A', 'TBC', '49,90', '12.5.0', '1,24.00', 'GBP 18.00', '31.999'].map(
    (amount): Fault =>
      (order) =>
        Object.assign(order, { amount, ...(amount === '31.999' ? { currency: 'EUR' } : {}) }),
  ),
  // it is negative: 5
  ...['-12.90', '-48.50', '-139.99', '-5', '-1,299.00'].map(
    (amount): Fault =>
      (order) =>
        (order.amount = amount),
  ),
  // the date never was, or is written otherwise: 10
  ...[
    '2025-02-30',
    '31/04/2025',
    '2025-13-05',
    '2025-06-31',
    '2025-02-29',
    '17.03.2025',
    '2025-00-12',
    '20250714',
    '0000-00-00',
    '',
  ].map(
    (date): Fault =>
      (order) =>
        (order.order_date = date),
  ),
  // the currency is unknown: 8
  ...['EURO', 'US$', 'XXX', 'UKP', '€', 'BTC', 'RMB', ''].map(
    (currency): Fault =>
      (order) =>
        (order.currency = currency),
  ),
  // the export wrote an order twice: 4
  ...Array.from({ length: 4 }, (): Fault => (order, earlier) => Object.assign(order, earlier)),
  // nobody ordered: 2
  (order) => (order.customer = ''),
  (order) => (order.customer = ' '),
];

function writeRecord(fields: readonly string[]): string {
  return fields.map((text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text)).join(',');
}

/** Chooses records to break: never the first, never neighbours, so that the record before a broken one is whole. */
function* breakable(): Generator<number, never> {
  const chosen = new Set<number>();
  for (;;) {
    const index = 1 + whole(recordCount - 1);
    if ([index - 1, index, index + 1].some((near) => chosen.has(near))) continue;
    chosen.add(index);
    yield index;
  }
}

/** The whole file as text. */
export function makeOrders(): string {
  random = generator(seed);
  const orders = makeDates().map(makeOrder);
  for (const order of orders) loosen(order);
  const places = breakable();
  for (const fault of faults) {
    const index = places.next().value;
    fault(orders[index]!, orders[index - 1]!);
  }
  const records = orders.map((order) => columns.map((column) => order[column]));
  // 2 records lost their end where the export was cut
  for (const length of [4, 7]) {
    const index = places.next().value;
    records[index] = records[index]!.slice(0, length);
  }
  return `${[columns, ...records].map(writeRecord).join('\n')}\n`;
}

if (import.meta.main) writeFileSync(new URL('../simple-demo/src/orders.csv', import.meta.url), makeOrders());
