import { workflow } from 'cloacina';
import { z } from 'zod';

const Input = z.object({
  region: z.enum(['north', 'south', 'west']),
  month: z.string().regex(/^\d{4}-(0[1-9]|1[0-2])$/, 'a month is written like 2026-09'),
  currency: z.enum(['EUR', 'USD']).default('EUR'),
  top: z.int().min(1).max(10).default(3),
  // a comma-separated list in, an array out: the tasks see what the schema made of it
  exclude: z
    .string()
    .default('')
    .transform((list) => list.split(',').filter((name) => name !== '')),
});

/** What a run may be told. Whoever starts it may leave out what has a default; tasks always see it. */
export type ReportInput = z.input<typeof Input>;

/** Euros for one unit. */
const euros = { EUR: 1, USD: 0.9 };

const flow = workflow('sales-report', { input: Input, description: 'The best-selling products of a region.' });

const sales = flow.task('sales', ({ input }) => salesOf(input.region, input.month));

const ranked = flow.task('rank', { needs: { sales } }, ({ input, needs }) =>
  needs.sales
    .filter(({ product }) => !input.exclude.includes(product))
    .toSorted((a, b) => b.cents - a.cents)
    .slice(0, input.top),
);

const report = flow.task('report', { needs: { ranked } }, ({ input, needs }) => ({
  title: `${input.region}, ${input.month}`,
  lines: needs.ranked.map(({ product, cents }) => {
    return `${product}: ${(cents / euros[input.currency] / 100).toFixed(2)} ${input.currency}`;
  }),
}));

export const salesReport = flow.returns(report);

/** Stands for a query. */
function salesOf(region: string, month: string): { product: string; cents: number }[] {
  const seed = region.length * Number(month.slice(5));
  return ['lamp', 'desk', 'chair', 'shelf', 'rug'].map((product, n) => ({
    product,
    cents: 9000 + seed * (n + 1) * 10,
  }));
}
