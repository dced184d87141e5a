// The demo's report against values computed in another way: one character at a time, and in integers of any size.
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { makeOrders } from '../examples/registry-execution-demo/scripts/make-orders.ts';
import { parseCsv } from '../examples/registry-execution-demo/simple-demo/src/csv.ts';
import { amountText, readOrder } from '../examples/registry-execution-demo/simple-demo/src/order.ts';
import { buildDemoPackage } from '../src/cli/demo/demo-package.ts';
import { Runner } from '../src/open.ts';

const ordersFile = new URL('../examples/registry-execution-demo/simple-demo/src/orders.csv', import.meta.url);
const csv = await readFile(ordersFile, 'utf8');

/** Rows of fields, read by a state machine over single characters. */
function tokenize(text: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let field = '';
  let inQuotes = false;
  for (let at = 0; at < text.length; at++) {
    const character = text[at]!;
    if (inQuotes && character === '"' && text[at + 1] === '"') {
      field += '"';
      at++;
    } else if (character === '"') {
      inQuotes = !inQuotes;
    } else if (inQuotes || (character !== ',' && character !== '\n')) {
      field += character;
    } else {
      row.push(field);
      field = '';
      if (character === ',') continue;
      rows.push(row);
      row = [];
    }
  }
  return rows;
}

const daysIn: readonly number[] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
/** Every day of 2025 as the file should write it. */
const days2025 = new Set(
  daysIn.flatMap((days, month) =>
    Array.from(
      { length: days },
      (_, day) => `2025-${String(month + 1).padStart(2, '0')}-${String(day + 1).padStart(2, '0')}`,
    ),
  ),
);
const decimals: { readonly [currency: string]: number } = { EUR: 2, USD: 2, GBP: 2, JPY: 0 };

/** Digits and one point, after groups of thousands were joined; undefined for a text that is no amount. */
function units(amount: string, places: number): bigint | undefined {
  const parts = amount.split('.');
  const [whole = '', fraction = ''] = parts;
  const groups = whole.split(',');
  const grouped = groups.length === 1 || (groups[0]!.length <= 3 && groups.slice(1).every((part) => part.length === 3));
  const isNumber = [...groups, ...parts.slice(1)].every(
    (part) => part !== '' && Array.from(part).every((c) => '0' <= c && c <= '9'),
  );
  if (parts.length > 2 || !grouped || !isNumber || fraction.length > places) return undefined;
  return BigInt(groups.join('')) * 10n ** BigInt(places) + BigInt(fraction.padEnd(places, '0') || '0');
}

interface Expected {
  accepted: number;
  readonly sums: Map<string, { orders: number; minor: bigint }>;
}

function expectedOf(text: string): Expected {
  const [header, ...rows] = tokenize(text);
  const ids = new Set<string>();
  const expected: Expected = { accepted: 0, sums: new Map() };
  for (const row of rows) {
    const value = (column: string): string => (row[header!.indexOf(column)] ?? '').trim();
    const currency = value('currency').toUpperCase();
    const places = decimals[currency];
    const minor = places === undefined ? undefined : units(value('amount'), places);
    const isOrder = row.length === header!.length && !ids.has(value('order_id')) && value('customer') !== '';
    if (!isOrder || minor === undefined || !days2025.has(value('order_date'))) continue;
    ids.add(value('order_id'));
    expected.accepted++;
    const key = `${value('order_date').slice(0, 7)} ${currency}`;
    const sum = expected.sums.get(key) ?? { orders: 0, minor: 0n };
    expected.sums.set(key, { orders: sum.orders + 1, minor: sum.minor + minor });
  }
  return expected;
}

const reportSchema = z.object({
  collected: z.number(),
  valid: z.number(),
  rejected: z.number(),
  rejectedByReason: z.record(z.string(), z.number()),
  statuses: z.record(z.string(), z.number()),
  totals: z.array(
    z.object({ month: z.string(), currency: z.string(), orders: z.number(), minor: z.number(), amount: z.string() }),
  ),
  currencies: z.array(z.object({ currency: z.string(), orders: z.number(), minor: z.number(), amount: z.string() })),
});

async function runPackage(): Promise<z.infer<typeof reportSchema>> {
  const folder = await mkdtemp(join(tmpdir(), 'cloacina-demo-report-'));
  after(() => rm(folder, { recursive: true, force: true }));
  const packed = await buildDemoPackage();
  await using runner = await Runner.open(`sqlite:${join(folder, 'demo.db')}`, {
    registry: `file:${join(folder, 'packages')}`,
  });
  await runner.registry.register(packed.bytes);
  const { output } = await runner.execute('data_processing');
  return reportSchema.parse(output);
}

const report = await runPackage();

test('950 of 1,000 orders are valid', () => {
  assert.deepEqual([report.collected, report.valid, report.rejected], [1000, 950, 50]);
  assert.equal(expectedOf(csv).accepted, 950);
});

test('the totals by month and currency equal independently computed ones', () => {
  const { sums } = expectedOf(csv);
  const actual = report.totals.map(({ month, currency, orders, minor }) => {
    return [`${month} ${currency}`, { orders, minor: BigInt(minor) }] as const;
  });
  assert.equal(actual.length, 48); // 12 months, 4 currencies
  assert.deepEqual(new Map(actual), sums);
});

test('some totals equal those of another program', () => {
  const amounts = new Map(
    report.totals.map(({ month, currency, orders, amount }) => [`${month} ${currency}`, [orders, amount]]),
  );
  assert.deepEqual(amounts.get('2025-01 EUR'), [34, '18278.88']);
  assert.deepEqual(amounts.get('2025-06 JPY'), [2, '474297']);
  assert.deepEqual(amounts.get('2025-12 GBP'), [25, '11026.30']);
  assert.deepEqual(amounts.get('2025-12 USD'), [32, '21245.98']);
  const currencies = report.currencies.map(({ currency, orders, amount }) => [currency, orders, amount]);
  assert.deepEqual(currencies, [
    ['EUR', 451, '261022.41'],
    ['GBP', 139, '68588.09'],
    ['JPY', 100, '9429585'],
    ['USD', 260, '150003.32'],
  ]);
});

test('each reason is counted, also for a record with two', () => {
  assert.deepEqual(report.rejectedByReason, {
    bad_amount: 7,
    bad_date: 10,
    duplicate_order: 4,
    missing_amount: 12,
    missing_customer: 2,
    negative_amount: 5,
    unknown_currency: 10,
    wrong_columns: 2,
  });
  assert.equal(
    Object.values(report.statuses).reduce((sum, count) => sum + count, 0),
    950,
  );
});

test('the orders in the example are those that its script makes', () => {
  assert.equal(makeOrders(), csv, `run node ${fileURLToPath(new URL('../../scripts/make-orders.ts', ordersFile))}`);
});

test('RFC 4180: quoted fields hold commas, line ends and quotes; CRLF, a byte order mark and blank lines are read', () => {
  const text = '\ufeffa,b\r\n"1, ""x""","two\nlines"\r\n\r\n,\n"",last';
  assert.deepEqual(parseCsv(text), [
    { line: 1, fields: ['a', 'b'] },
    { line: 2, fields: ['1, "x"', 'two\nlines'] },
    { line: 5, fields: ['', ''] },
    { line: 6, fields: ['', 'last'] },
  ]);
  assert.deepEqual(parseCsv(''), []);
});

test('RFC 4180: an unclosed quote, or text after a quote, is an error with its line', () => {
  assert.throws(() => parseCsv('a,b\n"1,2\n3'), /line 2/);
  assert.throws(() => parseCsv('a,b\n1,2\n"3"x,4\n'), /line 3/);
});

function order(fields: { [column: string]: string }, known: readonly string[] = []): unknown {
  const whole = {
    order_id: 'A',
    order_date: '2025-03-01',
    customer: 'Ada',
    amount: '1',
    currency: 'EUR',
    status: 'paid',
  };
  return readOrder({ line: 2, whole: true, fields: { ...whole, ...fields } }, new Set(known));
}

test('an order is read with spaces around its fields, a lower-case currency and grouped thousands', () => {
  const fields = { order_date: ' 2024-02-29 ', amount: ' 1,234,567.5 ', currency: 'usd' };
  const expected = { id: 'A', month: '2024-02', currency: 'USD', minor: 123_456_750, status: 'paid' };
  assert.deepEqual(order(fields), expected);
});

test('every fault of an order is reported', () => {
  assert.deepEqual(order({ order_date: '2025-02-29' }), ['bad_date']);
  assert.deepEqual(order({ amount: '1.5', currency: 'JPY' }), ['bad_amount']);
  assert.deepEqual(order({ amount: '90071992547409.93' }), ['bad_amount']);
  assert.deepEqual(order({ amount: '-0.999' }), ['negative_amount']);
  assert.deepEqual(order({}, ['A']), ['duplicate_order']);
  const all = { order_id: ' ', customer: '', order_date: '', currency: '', amount: '' };
  assert.deepEqual(order(all), [
    'missing_order_id',
    'missing_customer',
    'bad_date',
    'unknown_currency',
    'missing_amount',
  ]);
});

test('an amount is written with the decimals of its currency', () => {
  assert.deepEqual([amountText(5, 'EUR'), amountText(123_456, 'USD'), amountText(5, 'JPY')], ['0.05', '1234.56', '5']);
});
