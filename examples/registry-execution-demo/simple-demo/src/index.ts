import { readFile } from 'node:fs/promises';
import { workflow } from 'cloacina';
import { parseCsv } from './csv.ts';
import { amountText, readOrder } from './order.ts';
import type { Order, OrderRecord, Reason } from './order.ts';

const dataProcessing = workflow('data_processing', {
  description: 'Totals the orders of a year by month and currency.',
});

const collected = dataProcessing.task(
  'collect_data',
  { description: 'Reads the records of orders.csv.' },
  async ({ log, signal }) => {
    // the packer finds this file, puts it into the package, and rewrites the path
    const text = await readFile(new URL('./orders.csv', import.meta.url), { encoding: 'utf8', signal });
    const [header, ...rows] = parseCsv(text);
    if (header === undefined) throw new Error('orders.csv is empty: there is not even a header');
    const columns = header.fields.map((name) => name.trim());
    const records = rows.map(({ line, fields }): OrderRecord => ({
      line,
      whole: fields.length === columns.length,
      fields: Object.fromEntries(columns.map((column, index) => [column, fields[index] ?? ''])),
    }));
    log.info('collected', { records: records.length });
    return { columns, records };
  },
);

const processed = dataProcessing.task(
  'process_data',
  { description: 'Keeps the valid orders; says of each other record what is wrong with it.', needs: { collected } },
  ({ needs, log }) => {
    const orders: Order[] = [];
    const rejected: { line: number; orderId: string; reasons: readonly Reason[] }[] = [];
    const known = new Set<string>();
    for (const record of needs.collected.records) {
      const order = readOrder(record, known);
      if ('id' in order) {
        known.add(order.id);
        orders.push(order);
      } else {
        rejected.push({ line: record.line, orderId: record.fields['order_id'] ?? '', reasons: order });
      }
    }
    log.info('processed', { valid: orders.length, rejected: rejected.length });
    return { orders, rejected };
  },
);

const report = dataProcessing.task(
  'generate_report',
  { description: 'Adds up by month and currency.', needs: { collected, processed } },
  ({ needs, log }) => {
    const { orders, rejected } = needs.processed;
    const totals = grouped(orders, ({ month, currency }) => `${month} ${currency}`).map((group) => {
      return { month: group[0]!.month, ...totalOf(group) };
    });
    log.info('report generated', { totals: totals.length });
    return {
      collected: needs.collected.records.length,
      valid: orders.length,
      rejected: rejected.length,
      /** A record may be rejected for several reasons: these add up to at least `rejected`. */
      rejectedByReason: countsOf(rejected.flatMap(({ reasons }) => reasons)),
      statuses: countsOf(orders.map(({ status }) => status)),
      totals,
      currencies: grouped(orders, ({ currency }) => currency).map(totalOf),
    };
  },
);

/** The orders by a key, in the order of the keys. */
function grouped(orders: readonly Order[], keyOf: (order: Order) => string): (readonly Order[])[] {
  const groups = Map.groupBy(orders, keyOf);
  return [...groups.keys()].toSorted().map((key) => groups.get(key)!);
}

/** The sum of orders of one currency. */
function totalOf(orders: readonly Order[]) {
  const { currency } = orders[0]!;
  const minor = orders.reduce((sum, order) => sum + order.minor, 0);
  return { currency, orders: orders.length, minor, amount: amountText(minor, currency) };
}

function countsOf(names: readonly string[]): { [name: string]: number } {
  const counts = Map.groupBy(names, (name) => name);
  return Object.fromEntries([...counts.keys()].toSorted().map((name) => [name, counts.get(name)!.length]));
}

export default dataProcessing.returns(report);
