import { createInterface } from 'node:readline';

// The process that `reaper.ts` starts. It is told of process ids by lines on stdin, +ID and -ID; when stdin ends, which
// it does when whoever started this is gone, it ends those that are left, and then has nothing to wait for.
const left = new Set<number>();

const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => {
  const pid = Number(line.slice(1));
  if (line.startsWith('+')) left.add(pid);
  else left.delete(pid);
});
lines.on('close', () => {
  for (const pid of left) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // it ended meanwhile
    }
  }
});

// what ends a group of processes is meant for their parent, whose end is what this one waits for
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);
