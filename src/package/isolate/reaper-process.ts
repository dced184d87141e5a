import { createInterface } from 'node:readline';

// The process that `reaper.ts` starts. It receives process ids as lines on stdin, +ID and -ID. Stdin ends with the
// process that started this one; then it ends the remaining ids and exits.
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

// signals to the process group are meant for the parent, whose end this process waits for
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);
