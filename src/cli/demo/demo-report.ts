import { z } from 'zod';
import type { Json } from '../../core/json.ts';

const total = z.object({ currency: z.string(), orders: z.number(), amount: z.string() });

const outputsSchema = z.object({
  collect_data: z.object({ records: z.array(z.unknown()) }),
  process_data: z.object({ orders: z.array(z.unknown()), rejected: z.array(z.unknown()) }),
  generate_report: z.object({
    rejectedByReason: z.record(z.string(), z.number()),
    totals: z.array(total),
    currencies: z.array(total),
  }),
});

/** The displayed outputs of an execution of the demo's workflow. */
export interface DemoReport {
  readonly collected: number;
  readonly valid: number;
  readonly rejected: number;
  readonly rejectedByReason: Readonly<Record<string, number>>;
  readonly currencies: readonly { readonly currency: string; readonly orders: number; readonly amount: string }[];
  /** By month and currency. */
  readonly totals: number;
}

/** Null if the outputs have another shape: the registry may hold a different `simple_demo`. */
export function readReport(outputs: { readonly [task: string]: Json }): DemoReport | null {
  const parsed = outputsSchema.safeParse(outputs);
  if (!parsed.success) return null;
  const { collect_data: collected, process_data: processed, generate_report: report } = parsed.data;
  return {
    collected: collected.records.length,
    valid: processed.orders.length,
    rejected: processed.rejected.length,
    rejectedByReason: report.rejectedByReason,
    currencies: report.currencies,
    totals: report.totals.length,
  };
}

const indent = ' '.repeat(17);
/** Number of reasons on one line, so that it fits a terminal of 100 columns. */
const reasonsPerLine = 4;

/** Formats the report as text. */
export function reportLines(report: DemoReport): string[] {
  const reasons = Object.entries(report.rejectedByReason).map(([name, count]) => `${name} ${count}`);
  const reasonLines = Array.from({ length: Math.ceil(reasons.length / reasonsPerLine) }, (_, index) => {
    return reasons.slice(index * reasonsPerLine, (index + 1) * reasonsPerLine).join(', ');
  });
  const width = Math.max(...report.currencies.map(({ amount }) => amount.length));
  return [
    `collect_data     collected ${report.collected} records`,
    `process_data     processed ${report.valid} valid, ${report.rejected} rejected`,
    ...reasonLines.map((line) => indent + line),
    `generate_report  report generated: ${report.totals} totals by month and currency; of the whole year:`,
    ...report.currencies.map(({ currency, orders, amount }) => {
      return `${indent}${currency} ${amount.padStart(width)} in ${orders} orders`;
    }),
  ];
}
