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
  ['an empty tenant', () => Client.open('sqlite::memory:', { tenant: '' }), /'tenant': a text of 1 to 200 bytes/],
  ['an empty name', () => Runner.open('sqlite::memory:', { name: '' }), /'name': a text of 1 to 1000/],
  ['a lease of months', () => Runner.open('sqlite::memory:', { lease: '75d' }), /'lease': 75d is more than 24d/],
  ['a tenant of another kind', () => Client.open('sqlite::memory:', { tenant: as(5) }), /'tenant'/],
  ['options in the place of the URL', () => Client.open(as({ registry: 'file:./r' })), /'url': an object is not text/],
  [
    'an option of close',
    async () => {
      const runner = await Runner.open('sqlite::memory:');
      after(() => runner.close());
      await runner.close(as({ timeout: '1s' }));
    },
    /'timeout': unknown option; the options are drain/,
  ],
];

/** Verbs that read: an unknown option would show, and let a caller change, more than was asked for. */
const readings: readonly (readonly [string, Call, RegExp])[] = [
  ['list with state', (client) => client.executions.list(as({ state: 'failed' })), /'state': .* mean 'status'/],
  ['list with tag', (client) => client.executions.list(as({ tag: { a: 'x' } })), /'tag': .* mean 'tags'/],
  ['list(null)', (client) => client.executions.list(as(null)), /'options': null is not an object/],
  ['list of a Map', (client) => client.executions.list(as(new Map([['status', 'failed']]))), /a Map is not an object/],
  ['list with tags in a Map', (client) => client.executions.list({ tags: as(new Map()) }), /'tags': a Map is not/],
  ['list after 5', (client) => client.executions.list({ after: as(5) }), /'after': 5 is not text/],
  ['list after null', (client) => client.executions.list({ after: as(null) }), /'after': null is not text/],
  ['list after nonsense', (client) => client.executions.list({ after: 'x' }), /'after': 'x' is not a valid cursor/],
  ['list with a tag of no text', (client) => client.executions.list({ tags: as({ a: ['x'] }) }), /'tags': 'a' is not/],
  ['list with tags as text', (client) => client.executions.list({ tags: as('a=x') }), /'tags': 'a=x' is not an obj/],
  ['list of a number', (client) => client.executions.list({ workflow: as(5) }), /'workflow': 5 is not text/],
  ['list with no status', (client) => client.executions.list({ status: as(5) }), /'status': 5 is not one of/],
  ['list since text', (client) => client.executions.list({ since: as('today') }), /'since': 'today' is not a valid/],
  ['list of 0', (client) => client.executions.list({ limit: 0 }), /'limit': 0 is not a whole number from 1 to 1000/],
  ['get()', (client) => client.executions.get(as(undefined)), /'id'/],
  ['events since', (client) => client.executions.events('x', as({ since: 1 })), /'since': unknown option/],
  ['events after text', (client) => client.executions.events('x', { after: as('1') }), /'after': '1' is not a whole/],
  ['events after -1', (client) => client.executions.events('x', { after: -1 }), /'after': -1 is not a whole number/],
  ['events of 0', (client) => client.executions.events('x', { limit: 0 }), /'limit': 0 is not a whole number/],
  ['logs of tasks', (client) => client.executions.logs('x', as({ tasks: ['a'] })), /'tasks': .* mean 'task'/],
  ['logs of a number', (client) => client.executions.logs('x', { task: as(1) }), /'task': 1 is not text/],
  ['logs after NaN', (client) => client.executions.logs('x', { skip: Number.NaN }), /'skip': NaN is not a whole/],
  ['logs of 1.5', (client) => client.executions.logs('x', { limit: 1.5 }), /'limit': 1\.5 is not a whole number/],
  [
    'watch from',
    (client) => client.executions.watch('x', as({ from: 1 })).next(),
    /'from': unknown option; the options are after, signal/,
  ],
  ['watch after text', (client) => client.executions.watch('x', { after: as('1') }).next(), /'after': '1' is not/],
  ['watch until', (client) => client.executions.watch('x', { signal: as({}) }).next(), /'signal': .* AbortSignal/],
  ['outcome of a number', (client) => client.handle(as(5)).outcome(), /'id'/],
  ['workflows of a package', (client) => client.workflows.list(as({ package: 'p' })), /'package': unknown option; th/],
  ['workflows.get(5)', (client) => client.workflows.get(as(5)), /5 is not the name of a workflow/],
  ['schedules of a workflow', (client) => client.schedules.list(as({ workflow: 'w' })), /'workflow': unknown option/],
  ['history after', (client) => client.schedules.history('x', as({ after: 1 })), /'after': unknown option; the opt/],
  ['history before text', (client) => client.schedules.history('x', { before: as('1') }), /'before': '1' is not a/],
  ['stats sinse', (client) => client.schedules.stats(as({ sinse: '1h' })), /'sinse': .* mean 'since'/],
  ['stats of a number', (client) => client.schedules.stats({ schedule: as(1) }), /'schedule': 1 is not text/],
  ['packages of a name', (client) => client.registry.list(as({ name: 'p' })), /'name': unknown option; this call/],
  ['acts since', (client) => client.registry.events(as({ since: 1 })), /'since': unknown option/],
  ['acts after text', (client) => client.registry.events({ after: as('1') }), /'after': '1' is not a whole number/],
  ['acts of 0', (client) => client.registry.events({ limit: 0 }), /'limit': 0 is not a whole number/],
  ['registry.resolve(5)', (client) => client.registry.resolve(as(5)), /5 is not the name of a workflow/],
];

const verbs: readonly (readonly [string, Call, RegExp])[] = [
  ['start(null)', (client) => client.start(as(null)), /null is neither a workflow nor the name of one/],
  ['start({})', (client) => client.start(as({ name: 'one' })), /an object is neither/],
  ['start with tags: x', (client) => client.start(one, {}, as({ tags: 'x' })), /'tags': 'x' is not an object/],
  ['start with tags in a Map', (client) => client.start(one, {}, { tags: as(new Map()) }), /'tags': a Map is not/],
  [
    'start with tags of a query',
    (client) => client.start(one, {}, { tags: as(new URLSearchParams('a=b')) }),
    /'tags': an URLSearchParams is not an object with names and values/,
  ],
  ['start with an option unknown', (client) => client.start(one, {}, as({ prio: 1 })), /'prio'/],
  [
    'start with priority 2 ** 31',
    (client) => client.start(one, {}, { priority: 2 ** 31 }),
    /'priority': 2147483648 is/,
  ],
  ['start with priority 1e300', (client) => client.start(one, {}, { priority: 1e300 }), /'priority': 1e\+300/],
  ['startMany with a key', (client) => client.startMany(one, [{}, {}], as({ idempotencyKey: 'k' })), /one start each/],
  ['startMany of text', (client) => client.startMany('one', as('abc')), /'inputs': 'abc' is not an array/],
  ['startMany of nothing', (client) => client.startMany('one', as(undefined)), /'inputs': undefined is not an array/],
  ['startMany with prio', (client) => client.startMany(one, [], as({ prio: 1 })), /'prio': unknown option/],
  ['fork without a task', (client) => client.fork('x', as({})), /'from': a fork needs the task/],
  ['fork without options', (client) => client.fork('x', as(undefined)), /undefined is not an object/],
  ['fork with an input', (client) => client.fork('x', as({ from: 'a', input: 1 })), /'input': unknown option/],
  ['transaction()', (client) => client.transaction(as(undefined)), /'run': undefined is not a function/],
  ['gc with dryrun', (client) => client.registry.gc(as({ dryrun: true })), /'dryrun': .* mean 'dryRun'/],
  ['gc with a grace below 0', (client) => client.registry.gc({ graceMs: -1 }), /'graceMs': -1 is not a whole number/],
  ['gc with a grace as text', (client) => client.registry.gc({ graceMs: as('1h') }), /'graceMs': '1h' is not a whole/],
  [
    'register without activation',
    (client) => client.registry.register(new Uint8Array(), as({ activated: false })),
    /'activated': .* mean 'activate'/,
  ],
  ['publish to', (client) => client.registry.publish(new Uint8Array(), as({ channel: 'x' })), /'channel': unknown/],
  [
    'activate if',
    (client) => client.registry.activate('a', '1.0.0', as({ serial: 1 })),
    /'serial': .* mean 'expectedSerial'/,
  ],
  [
    'activate if text',
    (client) => client.registry.activate('a', '1.0.0', { expectedSerial: as('1') }),
    /'expectedSerial': '1' is not a whole number/,
  ],
  ['roll back to', (client) => client.registry.rollback('a', as({ version: '1' })), /'version': unknown option/],
  ['yank because', (client) => client.registry.yank('a', '1.0.0', as({ because: 'x' })), /'because': unknown option/],
  ['unyank because', (client) => client.registry.unyank('a', '1.0.0', { why: as(5) }), /'why': 5 is not text/],
  ['unregister if', (client) => client.registry.unregister('a', '1.0.0', as({ force: true })), /'force': unknown/],
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
  for (const [name, call, message] of [...verbs, ...readings]) {
    test(`the verb is called wrongly: ${name}`, () => refuses('OPTION_INVALID', () => call(client), message));
  }
  test('a schedule with an unknown option is refused', () => {
    const define = (): void => workflow('f').schedule('s', as({ every: '1h', timezon: 'UTC' }));
    return refuses('SCHEDULE_INVALID', define, /timezon: unknown option; did you mean 'timezone'/);
  });
});
