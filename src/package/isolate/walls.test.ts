import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, test } from 'node:test';
import { callOf, completed, definition, failed, hostOf, open, packageFolder } from '../../testing/isolate-rig.ts';

describe('registry.md: a package does nothing to other processes', { concurrency: 2 }, () => {
  test('it signals, slows down and debugs no process, under any name', async (t) => {
    const { code } = open(
      t,
      `import os, { setPriority } from 'node:os';
      import { createRequire } from 'node:module';
      const { pid, ppid } = process;
      w.task('kill', () => process.kill(ppid, 0));
      w.task('_kill', () => process._kill(ppid, 0));
      w.task('group', () => process._kill(0, 0));
      w.task('redefined', () => { Object.defineProperty(process, 'pid', { value: ppid }); process.kill(ppid, 0); });
      w.task('restored', () => { process._kill = () => 0; });
      w.task('debug', () => process._debugProcess(ppid));
      w.task('debugEnd', () => process._debugEnd());
      w.task('priority', () => os.setPriority(ppid, 19));
      w.task('imported', () => setPriority(ppid, 19));
      w.task('required', () => createRequire(import.meta.url)('os').setPriority(ppid, 19));
      w.task('own', () => { os.setPriority(5); os.setPriority(pid, 6); return [os.getPriority(), process.kill(pid, 0), process._kill(pid, 0)]; });`,
    );
    for (const task of [
      'kill',
      '_kill',
      'group',
      'redefined',
      'debug',
      'debugEnd',
      'priority',
      'imported',
      'required',
    ]) {
      assert.equal((await failed(code.run(callOf(task), hostOf()))).error.code, 'ERR_ACCESS_DENIED', task);
    }
    assert.equal((await failed(code.run(callOf('restored'), hostOf()))).error.name, 'TypeError');
    assert.deepEqual(await completed(code.run(callOf('own'), hostOf())), [6, true, 0]);
  });

  test('SIGUSR1 opens no inspector while isolates run, and reaches the application as before', async (t) => {
    if (process.platform === 'win32') return t.skip('Windows has no such signal');
    const dir = packageFolder(t, `${definition}w.task('one', () => 1);`);
    const url = (file: string): string => JSON.stringify(new URL(file, import.meta.url).href);
    const script = `
      import inspector from 'node:inspector';
      import { Isolate } from ${url('./isolate.ts')};
      const none = () => undefined;
      const isolate = new Isolate({ dir: ${JSON.stringify(dir)}, label: 'sample', logger: { debug: none, info: none, warn: none, error: none } });
      await isolate.describe();
      process.on('SIGUSR2', () => console.log('url', inspector.url()));
      console.log('up');
      process.stdin.on('data', (text) => {
        if (String(text) === 'listen') process.on('SIGUSR1', () => console.log('heard'));
        else void isolate.close();
        console.log('done');
      });`;
    const host = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['pipe', 'pipe', 'inherit'] });
    t.after(() => host.kill('SIGKILL'));
    const lines = createInterface({ input: host.stdout })[Symbol.asyncIterator]();
    const nextLine = async (): Promise<unknown> => (await lines.next()).value;
    const signal = async (): Promise<unknown> => {
      host.kill('SIGUSR1');
      host.kill('SIGUSR2');
      return nextLine();
    };
    assert.equal(await nextLine(), 'up');
    for (const child of childrenOf(host.pid!)) assert.match(child, /--disable-sigusr1/);
    assert.equal(await signal(), 'url undefined');
    host.stdin.write('listen');
    assert.equal(await nextLine(), 'done');
    host.kill('SIGUSR1');
    assert.equal(await nextLine(), 'heard');
    host.stdin.write('close');
    assert.equal(await nextLine(), 'done');
    const ended = once(host, 'exit');
    const last = new Set([await signal(), await nextLine()]);
    assert.deepEqual(last, new Set(['heard', 'url undefined']), 'after its last isolate');
    host.kill('SIGTERM');
    await ended;
  });
});

/** The command lines of the child processes of a process; none if the system does not tell them. */
function childrenOf(pid: number): readonly string[] {
  if (process.platform !== 'linux') return [];
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim().split(' ');
  assert.equal(children.length, 2, 'an isolate and its reaper');
  return children.map((child) => readFileSync(`/proc/${child}/cmdline`, 'latin1'));
}

describe('registry.md: a package writes no file past the permission model', { concurrency: 2 }, () => {
  test('flags of V8, some of which write files, cannot be changed', async (t) => {
    const { code, dir } = open(
      t,
      `import v8, { setFlagsFromString } from 'node:v8';
      import { createRequire } from 'node:module';
      const flag = '--trace-turbo-cfg-file=' + new URL('./written.txt', import.meta.url).pathname;
      w.task('default', () => v8.setFlagsFromString(flag));
      w.task('named', () => setFlagsFromString(flag));
      w.task('required', () => createRequire(import.meta.url)('node:v8').setFlagsFromString(flag));
      w.task('builtin', () => process.getBuiltinModule('v8').setFlagsFromString(flag));
      w.task('frozen', () => process.execArgv.includes('--freeze-flags-after-init'));`,
    );
    for (const task of ['default', 'named', 'required', 'builtin']) {
      const { error } = await failed(code.run(callOf(task), hostOf()));
      assert.equal(error.code, 'ERR_ACCESS_DENIED', task);
      assert.match(error.message, /a package cannot set flags of V8/);
    }
    assert.equal(await completed(code.run(callOf('frozen'), hostOf())), true);
    assert.equal(existsSync(join(dir, 'code', 'written.txt')), false);
  });

  test('a UNIX socket is neither created nor connected to, whatever the path goes through', async (t) => {
    const { code, dir } = open(
      t,
      `import net, { createConnection } from 'node:net';
      import http from 'node:http';
      import https from 'node:https';
      import tls from 'node:tls';
      const done = (it) => new Promise((resolve, reject) => it.on('error', reject).on('listening', resolve).on('connect', resolve).on('response', resolve));
      const doors = {
        listen: (path) => done(net.createServer().listen(path)),
        listenOptions: (path) => done(net.createServer().listen({ path })),
        httpListen: (path) => done(http.createServer().listen({ path, readableAll: true })),
        connect: (path) => done(net.connect(path)),
        connectOptions: (path) => done(createConnection({ path })),
        socket: (path) => done(new net.Socket().connect(path)),
        tls: (path) => done(tls.connect({ path })),
        http: (path) => done(http.get({ socketPath: path })),
        agent: (path) => done(http.get('http://x/', { agent: new http.Agent({ socketPath: path }) })),
        https: (path) => done(https.get({ socketPath: path })),
        fetch: async (path) => {
          await fetch('http://127.0.0.1:1/').catch(() => undefined); // makes Node load it
          const [newer, older] = [2, 1].map((n) => globalThis[Symbol.for('undici.globalDispatcher.' + n)]);
          const Dispatcher = (newer ?? older).constructor;
          await fetch('http://x/', { dispatcher: new Dispatcher({ connect: { socketPath: path } }) }).catch((error) => { throw error.cause; });
        },
        handle: (path) => {
          const { constructor: Pipe } = process._getActiveHandles().find((it) => it._handle?.constructor.name === 'Pipe')._handle;
          new Pipe(1).bind(path);
        },
      };
      w.task('door', ({ input }) => doors[input.door](input.path));
      w.task('doors', () => Object.keys(doors));
      w.task('tcp', async () => {
        const server = net.createServer((socket) => socket.end('hello')).listen(0, '127.0.0.1');
        await done(server);
        let text = '';
        for await (const part of net.connect(server.address().port, '127.0.0.1').setEncoding('utf8')) text += part;
        server.close();
        return text;
      });`,
      { grants: { net: true } },
    );
    const path = process.platform === 'win32' ? '\\\\.\\pipe\\cloacina-walls' : join(dir, 'made.sock');
    const other = process.platform === 'win32' ? '\\\\.\\pipe\\cloacina-other' : join(dir, 'other.sock');
    const server = createServer((socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')).listen(other);
    t.after(() => server.close());
    await once(server, 'listening');
    const doors = (await completed(code.run(callOf('doors'), hostOf()))) as readonly string[];
    for (const door of doors) {
      const target = /listen|handle/i.test(door) ? path : other;
      const input = JSON.stringify({ door, path: target });
      const { error } = await failed(code.run(callOf('door', { input }), hostOf()));
      const message = `a package may not use a UNIX socket: ${target}; see 'Isolation' in docs/packages.md`;
      assert.deepEqual([door, error.code, error.message], [door, 'ERR_ACCESS_DENIED', message]);
      assert.equal(existsSync(path), false, door);
    }
    assert.equal(await completed(code.run(callOf('tcp'), hostOf())), 'hello');
  });
});
