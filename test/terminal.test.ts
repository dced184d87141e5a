import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { root } from '../scripts/tool.ts';
import { samplePackage } from '../src/testing/sample-package.ts';
import { endAll, startCli } from './cli/run-cli.ts';

/**
 * Erases a line, moves the cursor, sets the title; C1, bidi controls, zero width, line separators; then a line of its
 * own.
 */
const hostile =
  'seen\u001b[2K\u001b[1A\u001b]0;title\u0007\u009b31m\u202e\u2066\u200b\u200d\u200f\u061c\ufeff\u2028\r\nforged line';
/** Every character that a terminal obeys or hides, except line ends and tabs. */
const obeyed = /(?![\n\t])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;

const entry = `
import { NonRetryableError, workflow } from 'cloacina';
const hostile = ${JSON.stringify(hostile)};
console.error('loading ' + hostile);

const ending = workflow('ending', {});
const say = ending.task('say', ({ log, progress }) => {
  console.error('running ' + hostile);
  log.error(hostile, { hostile });
  progress(0.5, hostile);
  return { hostile };
});
ending.returns(say);

const failing = workflow('failing', {});
failing.task('give_up', () => {
  throw new NonRetryableError(hostile);
});
export { ending, failing };
`;

interface Printed {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

let dir = '';

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cloacina-terminal-'));
  await mkdir(join(dir, 'flows', 'src'), { recursive: true });
  const about = {
    name: 'hostile_flows',
    version: '1.0.0',
    description: 'Flows',
    author: 'Ada',
    type: 'module',
    cloacina: { entry: 'src/index.ts' },
  };
  await writeFile(join(dir, 'flows', 'package.json'), JSON.stringify(about));
  await writeFile(join(dir, 'flows', 'src', 'index.ts'), entry);
});

after(async () => {
  endAll();
  await rm(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 });
});

/** The output of a command, byte by byte. */
async function print(...args: readonly string[]): Promise<Printed> {
  const child = spawn(process.execPath, [join(root, 'bin', 'cloacina.js'), ...args], {
    cwd: dir,
    env: { ...process.env, NODE_COMPILE_CACHE: join(dir, '.compile-cache') },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => (output[name] += text));
  }
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { code, ...output };
}

function checkHarmless(what: string, { stdout, stderr }: Printed): void {
  for (const text of [stdout, stderr]) {
    const found = obeyed.exec(text);
    assert.equal(found, null, `${what}: ${JSON.stringify(text.slice(Math.max(0, (found?.index ?? 0) - 80)))}`);
    assert.doesNotMatch(text, /^forged/m, what);
  }
}

/** Runs a command, checks its output, and returns it. */
async function harmless(...args: readonly string[]): Promise<Printed> {
  const printed = await print(...args);
  checkHarmless(args.join(' '), printed);
  return printed;
}

describe('the text of a package cannot control a terminal or forge a line', () => {
  test('packing, registering and showing a package escapes its text', async () => {
    const packed = await harmless('package', 'pack', 'flows', '-o', 'flows.cloacina');
    assert.equal(packed.code, 0, packed.stderr);
    assert.match(packed.stderr, /loading seen\\u001b\[2K/);
    for (const json of [[], ['--json']]) {
      await harmless('package', 'register', 'flows.cloacina', ...json);
      const commands = [
        ['package', 'inspect', 'flows.cloacina'],
        ['package', 'list'],
        ['package', 'show', 'hostile_flows'],
        ['workflow', 'list'],
        ['workflow', 'show', 'ending'],
      ];
      await Promise.all(commands.map((command) => harmless(...command, ...json)));
    }
  });

  test('running a package escapes its text, also in stored logs and errors', async () => {
    const ended = await harmless('workflow', 'run', 'ending');
    assert.match(ended.stderr, /running seen\\u001b\[2K/);
    const failed = await harmless('workflow', 'run', 'failing');
    assert.match(failed.stderr, /in task give_up: seen\\u001b\[2K.*\n +forged line/);
    const printed = await harmless('workflow', 'run', 'ending', '--json');
    const { output } = JSON.parse(printed.stdout) as { readonly output: unknown };
    assert.deepEqual(output, { hostile });

    const { items } = JSON.parse((await harmless('execution', 'list', '--json')).stdout) as {
      readonly items: readonly { readonly id: string; readonly workflow: string }[];
    };
    const one = (name: string): (typeof items)[number] => items.find(({ workflow }) => workflow === name)!;
    await harmless('execution', 'list');
    for (const json of [[], ['--json']]) {
      for (const { id } of [one('ending'), one('failing')]) {
        await Promise.all(['show', 'events', 'logs'].map((verb) => harmless('execution', verb, id, ...json)));
      }
    }
    assert.match(
      (await harmless('execution', 'logs', one('ending').id)).stdout,
      /say: seen\\u001b\[2K.*\n +forged line/,
    );
  });

  for (const json of [[], ['--json']]) {
    test(`a runner escapes the text of its packages ${json.join('')}`, async () => {
      const id = (await harmless('workflow', 'run', 'failing', '--detach')).stdout.trim();
      const runner = startCli(dir, ['runner', ...json]);
      const output = { stdout: '', stderr: '' };
      for (const name of ['stdout', 'stderr'] as const) {
        runner.child[name]!.setEncoding('utf8').on('data', (text: string) => (output[name] += text));
      }
      await runner.line('stdout', 'execution.failed');
      runner.child.kill('SIGTERM');
      await runner.ended;
      assert.ok(output.stdout.includes(id));
      checkHarmless('runner', { code: 0, ...output });
    });
  }

  test('a package that does not load has its text escaped', async () => {
    const throws = `throw new Error(${JSON.stringify(hostile)});`;
    await writeFile(join(dir, 'broken.cloacina'), (await samplePackage(throws, 'broken')).bytes);
    await mkdir(join(dir, 'thrower'));
    const about = { name: 'thrower', version: '1.0.0', type: 'module', cloacina: { entry: 'index.js' } };
    await writeFile(join(dir, 'thrower', 'package.json'), JSON.stringify(about));
    await writeFile(join(dir, 'thrower', 'index.js'), throws);
    await harmless('package', 'register', 'broken.cloacina');
    for (const json of [[], ['--json']]) {
      assert.match(JSON.stringify(await harmless('package', 'pack', 'thrower', ...json)), /BUILD_FAILED/);
    }
    const { stderr } = await harmless('workflow', 'run', 'data_processing');
    assert.match(stderr, /did not load: .*seen\\u001b/);
  });

  test('names, errors and arguments of a package are escaped', async () => {
    await harmless('workflow', 'run', hostile);
    await harmless('workflow', 'run', hostile, '--json');
    await harmless('package', 'show', hostile);
    await harmless('execution', hostile);
    await harmless('package', 'inspect', hostile);
  });
});
