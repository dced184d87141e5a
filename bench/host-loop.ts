import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { inFolder } from './measure.ts';

const run = promisify(execFile);
const script = fileURLToPath(new URL('host-loop-process.ts', import.meta.url));
const source = fileURLToPath(new URL('slow-flush.c', import.meta.url));

interface HostLoop {
  readonly utilization: number;
  readonly delayP99Ms: number;
  readonly pipelines: number;
}

/**
 * `npm run bench -- --host-loop`: how busy the event loop of an application is that starts pipelines of three tasks on a
 * SQLite file: 50 a second if a flush takes 5 ms more, and 100 a second on the disk as it is. The slow disk needs Linux and
 * a C compiler.
 */
export async function hostLoopText(seconds: number): Promise<string> {
  return inFolder(async (folder) => {
    const lines: string[] = [];
    const library = join(folder, 'slow-flush.so');
    try {
      await run('cc', ['-shared', '-fPIC', '-O2', '-o', library, source, '-ldl']);
      lines.push(text('50 a second, 5 ms a flush', await measured(50, seconds, { LD_PRELOAD: library })));
    } catch (error) {
      lines.push(`50 a second, 5 ms a flush: not measured (${error instanceof Error ? error.message : String(error)})`);
    }
    lines.push(text('100 a second, plain disk', await measured(100, seconds, {})));
    return lines.join('\n');
  });
}

async function measured(perSecond: number, seconds: number, env: Readonly<Record<string, string>>): Promise<HostLoop> {
  const { stdout } = await run(process.execPath, [script, String(perSecond), String(seconds)], {
    env: { ...process.env, ...env },
  });
  return JSON.parse(stdout) as HostLoop;
}

function text(what: string, { utilization, delayP99Ms, pipelines }: HostLoop): string {
  return `${what}: loop ${Math.round(utilization * 100)} % busy, delay p99 ${delayP99Ms.toFixed(1)} ms, ${pipelines} pipelines`;
}
