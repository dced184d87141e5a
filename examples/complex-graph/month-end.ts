import { settled, unchecked, workflow } from 'cloacina';
import { ask, askRates } from './books.ts';
import type { Currency, Entry } from './books.ts';

const close = workflow('month-end-close', {
  input: unchecked<{ month: string }>(),
  description: 'Closes the books of a month.',
});

const period = close.task('period', ({ input }) => {
  const [year = 0, month = 0] = input.month.split('-').map(Number);
  const days = new Date(Date.UTC(year, month, 0)).getUTCDate();
  return { from: `${input.month}-01`, to: `${input.month}-${days}`, days };
});

// six sources, asked at once
const sales = close.task('fetch sales', { needs: { period } }, ({ signal }) => ask('sales', signal));
const refunds = close.task('fetch refunds', { needs: { period } }, ({ signal }) => ask('refunds', signal));
const bills = close.task('fetch bills', { needs: { period } }, ({ signal }) => ask('bills', signal));
const payroll = close.task('fetch payroll', { needs: { period } }, ({ signal }) => ask('payroll', signal));
const bank = close.task('fetch bank statement', { needs: { period } }, ({ signal }) => ask('bank', signal));
const rates = close.task('fetch exchange rates', { needs: { period } }, ({ signal }) => askRates(signal));

// what was earned
const netSales = close.task('net sales', { needs: { sales, refunds } }, ({ needs }) => {
  const refunded = new Map(needs.refunds.map(({ id, cents }) => [id, cents]));
  return needs.sales.map((sale) => ({ ...sale, cents: sale.cents - (refunded.get(sale.id) ?? 0) }));
});
const salesEur = close.task('sales in euros', { needs: { netSales, rates } }, ({ needs }) =>
  totalIn(needs.rates, needs.netSales),
);
const salesTax = close.task('tax on sales', { needs: { salesEur } }, ({ needs }) => tax(needs.salesEur));

// what was spent
const billsEur = close.task('bills in euros', { needs: { bills, rates } }, ({ needs }) =>
  totalIn(needs.rates, needs.bills),
);
const billsTax = close.task('tax on bills', { needs: { billsEur } }, ({ needs }) => tax(needs.billsEur));
const payrollSum = close.task('payroll checked', { needs: { payroll } }, ({ needs }) => {
  const odd = needs.payroll.find(({ cents }) => cents <= 0);
  if (odd !== undefined) throw new Error(`payslip ${odd.id} pays ${odd.cents} cents`);
  return sum(needs.payroll);
});
const costs = close.task(
  'costs',
  { needs: { billsEur, payrollSum } },
  ({ needs }) => needs.billsEur + needs.payrollSum,
);

// what follows
const taxReturn = close.task('tax return', { needs: { period, salesTax, billsTax } }, ({ needs }) => {
  return { until: needs.period.to, due: needs.salesTax - needs.billsTax };
});
const profit = close.task('profit', { needs: { salesEur, costs } }, ({ needs }) => needs.salesEur - needs.costs);
const difference = close.task('compare with bank', { needs: { bank, profit } }, ({ needs }) => {
  return sum(needs.bank) - needs.profit;
});
const question = close.task(
  'ask the bookkeeper',
  { needs: { difference }, when: ({ needs }) => needs.difference !== 0 },
  ({ needs }) => `the bank has ${euros(needs.difference)} more than the books`,
);
const margin = close.task('margin', { needs: { profit, salesEur } }, ({ needs }) => {
  return Math.round((needs.profit / needs.salesEur) * 100);
});
const report = close.task(
  'report',
  { needs: { period, salesEur, costs, profit, margin, taxReturn, question: settled(question) } },
  ({ needs }) => ({
    period: `${needs.period.from} to ${needs.period.to}`,
    sales: euros(needs.salesEur),
    costs: euros(needs.costs),
    profit: `${euros(needs.profit)} (${needs.margin} %)`,
    tax: euros(needs.taxReturn.due),
    // skipped where the bank and the books agree
    open: needs.question.status === 'completed' ? needs.question.output : 'nothing',
  }),
);

export const monthEnd = close.returns(report);

function totalIn(inEuros: Readonly<Record<Currency, number>>, entries: readonly Entry[]): number {
  return entries.reduce((total, { cents, currency }) => total + Math.round(cents * inEuros[currency]), 0);
}

function sum(entries: readonly Entry[]): number {
  return entries.reduce((total, { cents }) => total + cents, 0);
}

function tax(cents: number): number {
  return Math.round(cents * 0.19);
}

function euros(cents: number): string {
  return `${(cents / 100).toFixed(2)} EUR`;
}
