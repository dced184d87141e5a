import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { CloacinaError, settled, workflow } from '../src/index.ts';
import { Client, Runner } from '../src/open.ts';

// Arguments that JavaScript allows: each is refused with a code, and the error names the fault.

type Call = (client: Client) => unknown;

const one = workflow('one');
one.task('a', () => 1);

/** A value as a caller of JavaScript passes it. */
function as(value: unknown): never {
  return value as never;
}

const definitions: readonly (readonly [string, () => unknown, RegExp])[] = [
  ['workflow()', () => workflow(as(undefined)), /workflow 'undefined': a name has/],
  ['workflow({})', () => workflow(as({})), /workflow 'an object': a name has/],
  ['workflow(f, 5)', () => workflow('f', as(5)), /option 'options': 5 is not an object/],
  ['an input that is no schema', () => workflow('f', as({ input: {} })), /option 'input': .* is not a Standard Schema/],
  ['an unknown option', () => workflow('f', as({ inptu: 1 })), /option 'inptu': .* did you mean 'input'\?/],
  [
    'a queue that is no text',
    () => workflow('f').task('a', as({ queue: 'a\nb' }), () => 1),
    /task 'a': option 'queue': .* is not the name of a queue/s,
  ],
  [
    'an unknown part of concurrency',
    () => workflow('f', as({ concurrency: { limit: 1, by: 'x' } })),
    /'concurrency\.by'/,
  ],
  [
    'an unknown option of a task',
    () => workflow('f').task('a', as({ timout: '1s' }), () => 1),
    /task 'a': option 'timout'.*'timeout'/,
  ],
  ['null for options', () => workflow('f').task('a', as(null), () => 1), /task 'a': option 'options': null/],
  ['no function', () => workflow('f').task('a', as(undefined)), /task 'a' has no function/],
  [
    'nothing but a name',
    () => (workflow('f') as unknown as { task(name: string): void }).task('a'),
    /task 'a' has no function/,
  ],
  ['a when that is no function', () => workflow('f').task('a', as({ when: true }), () => 1), /true is not a function/],
  [
    'needs in an array',
    () => workflow('f').task('a', as({ needs: [] }), () => 1),
    /'needs': an array is not an object/,
  ],
  ['a wait without options', () => workflow('f').wait('a', as(undefined)), /wait 'a': option 'options': undefined/],
  ['a wait with an invalid schema', () => workflow('f').wait('a', as({ signal: 's', schema: {} })), /'schema'/],
  [
    'a child that is a number',
    () => workflow('f').child('a', as(5), { input: () => 1 }),
    /child 'a' needs a workflow or its name, not 5/,
  ],
  ['a sleep with two spellings', () => workflow('f').sleep('a', as({ form: 1 })), /'form': .*did you mean 'for'/],
];

const options: readonly (readonly [string, () => unknown, RegExp])[] = [
  ['a retry option', () => workflow('f').task('a', as({ retry: { atempts: 2 } }), () => 1), /f\.a\.retry\.atempts/],
  ['settled(undefined)', () => settled(as(undefined)), /settled\(\) takes a task/],
  ['workflows: [1]', () => Runner.open('sqlite::memory:', { workflows: as([1]) }), /'workflows': 1 is not a workflow/],
  ['workflows: one', () => Runner.open('sqlite::memory:', { workflows: as(one) }), /an object is not an array/],
  ['an option of open', () => Runner.open('sqlite::memory:', as({ concurency: 2 })), /did you mean 'concurrency'/],
  ['of runners, for a client', () => Client.open('sqlite::memory:', as({ schedules: true })), /'schedules'/],
  ['null for options', () => Client.open('sqlite::memory:', as(null)), /null is not an object/],
  ['no queue', () => Runner.open('sqlite::memory:', { queues: [] }), /'queues': a runner needs at least one queue/],
  [
    'a queue without a name',
    () => Runner.open('sqlite::memory:', { queues: ['gpu', ''] }),
    /'queues': '' is not the name/,
  ],
  ['a queue as text', () => Runner.open('sqlite::memory:', { queues: as('gpu') }), /'queues': 'gpu' is not an array/],
  ['an empty tenant', () => Client.open('sqlite::memory:', { tenant: '' }), /'tenant': a text of 1 to 1000/],
  ['an empty name', () => Runner.open('sqlite::memory:', { name: '' }), /'name': a text of 1 to 1000/],
  ['a lease of months', () => Runner.open('sqlite::memory:', { lease: '75d' }), /'lease': 75d is more than 24d/],
  ['a tenant of another kind', () => Client.open('sqlite::memory:', { tenant: as(5) }), /'tenant'/],
];

const verbs: readonly (readonly [string, Call, RegExp])[] = [
  ['start(null)', (client) => client.start(as(null)), /null is neither a workflow nor the name of one/],
  ['start({})', (client) => client.start(as({ name: 'one' })), /an object is neither/],
  ['start with tags: x', (client) => client.start(one, {}, as({ tags: 'x' })), /'tags': 'x' is not an object/],
  ['start with an option unknown', (client) => client.start(one, {}, as({ prio: 1 })), /'prio'/],
  [
    'start with priority 2 ** 31',
    (client) => client.start(one, {}, { priority: 2 ** 31 }),
    /'priority': 2147483648 is/,
  ],
  ['start with priority 1e300', (client) => client.start(one, {}, { priority: 1e300 }), /'priority': 1e\+300/],
  ['register(null)', (client) => client.registry.register(as(null)), /null is not a package file/],
  ['register(text)', (client) => client.registry.register(as('a.cloacina')), /'a\.cloacina' is not a package file/],
  ['registry.get()', (client) => client.registry.get(as(undefined)), /undefined is not a valid name/],
  ['registry.yank(a, 1)', (client) => client.registry.yank('a', as(1)), /1 is not a valid version/],
  [
    'registry.activate(a)',
    (client) => client.registry.activate('a', as(undefined)),
    /undefined is not a valid version/,
  ],
  ['schedules.add(x, null)', (client) => client.schedules.add('x', as(null)), /null is not an object/],
  ['schedules.get()', (client) => client.schedules.get(as(undefined)), /undefined is not a schedule name/],
  ['schedules.preview(null)', (client) => client.schedules.preview(as(null)), /null is not an object/],
  ['preview from text', (client) => client.schedules.preview({ every: '1h' }, 1, as('x')), /'x' is not a Date/],
];

let client: Client;

before(async () => {
  client = await Client.open('sqlite::memory:', { registry: 'file:./never-made' });
});

after(() => client.close());

function refuses(code: string, call: () => unknown, message: RegExp): Promise<void> {
  const run = async (): Promise<unknown> => await call();
  return assert.rejects(run, (error: unknown) => {
    assert.ok(error instanceof CloacinaError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, message);
    return true;
  });
}

describe('wrong arguments are refused with a code', () => {
  for (const [name, call, message] of definitions) {
    test(`the definition is wrong: ${name}`, () => refuses('DEFINITION_INVALID', call, message));
  }
  for (const [name, call, message] of options) {
    test(`the option is wrong: ${name}`, () => refuses('OPTION_INVALID', call, message));
  }
  for (const [name, call, message] of verbs) {
    test(`the verb is called wrongly: ${name}`, () => refuses('OPTION_INVALID', () => call(client), message));
  }
  test('a schedule with an unknown option is refused', () => {
    const define = (): void => workflow('f').schedule('s', as({ every: '1h', timezon: 'UTC' }));
    return refuses('SCHEDULE_INVALID', define, /timezon: unknown option; did you mean 'timezone'/);
  });
});
