import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { root } from '../../scripts/tool.ts';

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Started {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  /** Resolves with the first line of that stream that contains `text`; rejects if the process ends before. */
  line(stream: 'stdout' | 'stderr', text: string): Promise<string>;
}

/** The longest wait for expected output, which takes under a second on an idle host. */
const patienceMs = 30_000;
const running = new Set<ChildProcess>();

/** Ends processes that failed tests have left running. */
export function endAll(): void {
  for (const child of running) child.kill('SIGKILL');
}

/**
 * Starts the command in a separate process, as users do: bin/cloacina.js, in a folder; of another checkout if `home` is
 * given.
 */
export function startCli(cwd: string, args: readonly string[], input = '', home: string = root): Started {
  const { NO_COLOR: _, FORCE_COLOR: __, ...rest } = process.env;
  const child = spawn(process.execPath, [join(home, 'bin', 'cloacina.js'), ...args], {
    cwd,
    env: { ...rest, NODE_COMPILE_CACHE: join(cwd, '.compile-cache') },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  running.add(child);
  child.on('close', () => running.delete(child));
  child.stdin.on('error', () => undefined); // a command that reads no input may end before it is written
  child.stdin.end(input);
  const lines = { stdout: [] as string[], stderr: [] as string[] };
  const waiting = new Set<() => void>();
  for (const name of ['stdout', 'stderr'] as const) {
    createInterface({ input: child[name] }).on('line', (line) => {
      lines[name].push(line);
      for (const look of waiting) look();
    });
  }
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      resolve({ code, stdout: lines.stdout.join('\n'), stderr: lines.stderr.join('\n') });
    });
  });
  const line = (stream: 'stdout' | 'stderr', text: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const fail = (): void => {
        const all = [...lines.stdout, ...lines.stderr].join('\n');
        reject(new Error(`cloacina ${args.join(' ')}: no line with '${text}' in:\n${all}`));
      };
      const timer = setTimeout(fail, patienceMs);
      const look = (): void => {
        const found = lines[stream].find((each) => each.includes(text));
        if (found === undefined) return;
        waiting.delete(look);
        clearTimeout(timer);
        resolve(found);
      };
      waiting.add(look);
      look();
      void ended.then(fail).finally(() => clearTimeout(timer));
    });
  return { child, ended, line };
}

export function runCli(cwd: string, args: readonly string[], input = '', home: string = root): Promise<Ended> {
  return startCli(cwd, args, input, home).ended;
}
