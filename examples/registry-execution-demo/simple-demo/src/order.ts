/** Currencies that the shop sells in, and how many decimals each has (ISO 4217). */
const decimalsOf: ReadonlyMap<string, number> = new Map([
  ['EUR', 2],
  ['GBP', 2],
  ['JPY', 0],
  ['USD', 2],
]);

/** One record of the file, its fields by the name of their column; a field that is not there is ''. */
export interface OrderRecord {
  readonly line: number;
  /** Whether it has as many fields as the file has columns. */
  readonly whole: boolean;
  readonly fields: { readonly [column: string]: string };
}

export interface Order {
  readonly id: string;
  /** `2025-03`. */
  readonly month: string;
  readonly currency: string;
  /** In the smallest unit of the currency: cents, pence, yen. A whole number, so that sums are exact. */
  readonly minor: number;
  readonly status: string;
}

export type Reason =
  | 'wrong_columns'
  | 'missing_order_id'
  | 'duplicate_order'
  | 'missing_customer'
  | 'bad_date'
  | 'unknown_currency'
  | 'missing_amount'
  | 'negative_amount'
  | 'bad_amount';

/** Checks one record. `known` holds the ids of orders that were accepted before. All reasons are given, not the first. */
export function readOrder(record: OrderRecord, known: ReadonlySet<string>): Order | readonly Reason[] {
  if (!record.whole) return ['wrong_columns'];
  const text = (column: string): string => (record.fields[column] ?? '').trim();
  const id = text('order_id');
  const month = monthOf(text('order_date'));
  const currency = text('currency').toUpperCase();
  const decimals = decimalsOf.get(currency);
  const minor = minorUnits(text('amount'), decimals ?? 2);
  const reasons: Reason[] = [];
  if (id === '') reasons.push('missing_order_id');
  if (known.has(id)) reasons.push('duplicate_order');
  if (text('customer') === '') reasons.push('missing_customer');
  if (month === null) reasons.push('bad_date');
  if (decimals === undefined) reasons.push('unknown_currency');
  if (typeof minor === 'string') reasons.push(minor);
  if (month === null || typeof minor === 'string' || reasons.length > 0) return reasons;
  return { id, month, currency, minor, status: text('status') };
}

/** The month of a date written `2025-02-28`; null for any other writing, and for a date that never was. */
function monthOf(date: string): string | null {
  const [, year, month, day] = /^(\d{4})-(\d\d)-(\d\d)$/.exec(date) ?? [];
  if (year === undefined || month === undefined || day === undefined) return null;
  const real = new Date(`${date}T00:00:00Z`);
  // 30 February is read as 2 March, and the thirteenth month as no date at all
  if (Number.isNaN(real.getTime()) || real.getUTCDate() !== Number(day)) return null;
  return `${year}-${month}`;
}

/** `1,249.5` with two decimals is 124950; a comma only groups thousands. */
function minorUnits(amount: string, decimals: number): number | Reason {
  if (amount === '') return 'missing_amount';
  const [, sign, whole, fraction = ''] = /^(-?)(\d+|\d{1,3}(?:,\d{3})+)(?:\.(\d+))?$/.exec(amount) ?? [];
  if (whole === undefined || fraction.length > decimals) return sign === '-' ? 'negative_amount' : 'bad_amount';
  if (sign === '-') return 'negative_amount';
  const minor = Number(whole.replaceAll(',', '') + fraction.padEnd(decimals, '0'));
  return Number.isSafeInteger(minor) ? minor : 'bad_amount';
}

/** 124950 of a currency with two decimals is `1249.50`. */
export function amountText(minor: number, currency: string): string {
  const decimals = decimalsOf.get(currency) ?? 0;
  const digits = String(minor).padStart(decimals + 1, '0');
  return decimals === 0 ? digits : `${digits.slice(0, -decimals)}.${digits.slice(-decimals)}`;
}
