import { settled, unchecked, workflow } from 'cloacina';

// -- a workflow of its own: it may be started by itself as well

const accountFlow = workflow('accounts', { input: unchecked<{ email: string; systems: readonly string[] }>() });
const opened = accountFlow.map('open', { over: ({ input }) => input.systems }, ({ input, item }) => {
  return `${input.email} in ${item}`;
});
export const accounts = accountFlow.returns(opened);

// -- another one, which waits for days

const equipmentFlow = workflow('equipment', { input: unchecked<{ model: string; deliveredAt: string }>() });
const ordered = equipmentFlow.task('order', ({ input }) => {
  if (input.model === '') throw new Error('there is no laptop without a model');
  return `L-${input.model}`;
});
const delivered = equipmentFlow.sleep('delivery', {
  needs: { ordered },
  until: ({ input }) => Date.parse(input.deliveredAt),
});
const labelled = equipmentFlow.task('label', { needs: { ordered, delivered } }, ({ needs }) => needs.ordered);
export const equipment = equipmentFlow.returns(labelled);

// -- the one that uses both

interface NewEmployee {
  readonly name: string;
  readonly email: string;
  readonly laptop: { readonly model: string; readonly deliveredAt: string };
}

const flow = workflow('onboarding', { input: unchecked<NewEmployee>() });

// the two need nothing of each other, so they run side by side
const hasAccounts = flow.child('accounts', accounts, {
  input: ({ input }) => ({ email: input.email, systems: ['mail', 'wiki', 'payroll'] }),
});
const hasLaptop = flow.child('equipment', equipment, { input: ({ input }) => input.laptop });

const welcome = flow.task(
  'welcome',
  // a child that fails is a task that fails: settled, it may be missing
  { needs: { hasAccounts, hasLaptop: settled(hasLaptop) } },
  ({ input, needs }) => {
    const { hasLaptop: laptop } = needs;
    const desk = laptop.status === 'completed' ? `laptop ${laptop.output} is on your desk` : 'your laptop will be late';
    return `Welcome, ${input.name}: ${needs.hasAccounts.length} accounts are open, ${desk}.`;
  },
);

export const onboarding = flow.returns(welcome);
