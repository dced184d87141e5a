/**
 * `npm run bench` prints tables and writes `bench/results.json`. `-- --readme` also writes them to `bench/README.md`, `-- --quick`
 * uses fewer executions, `-- --sqlite` and `-- --postgres` measure one database. `-- --host-loop` measures the event loop of an
 * application instead, `-- --scale` the calls whose cost could grow with the database, and `-- --startup` the cost of a start, with `--other=FOLDER` also of another build. `-- --peers` compares with other engines, see `bench/peers/README.md`.
 */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { fillIn, machineText } from './documents.ts';
import { comparePeers } from './peers.ts';
import { hostLoopText } from './host-loop.ts';
import { durablePostgres, postgresReport, postgresWidths } from './postgres.ts';
import { fullScale, scaleText } from './scale.ts';
import { sqliteReport, sqliteWidths } from './sqlite.ts';
import { startupText } from './startup.ts';

const asked = new Set(process.argv.slice(2));
const quick = asked.has('--quick');
if (asked.has('--peers')) process.exitCode = await comparePeers([...asked]);
else if (asked.has('--host-loop')) console.log(await hostLoopText(quick ? 3 : 20));
else if (asked.has('--scale')) {
  const scale = quick ? { ...fullScale, executions: 120_000, definitions: 1000, schedules: 1000 } : fullScale;
  console.log(await scaleText(scale));
} else if (asked.has('--startup')) console.log(await startupText(quick ? 5 : 15, valueOf('--other')));
else await measure();

function valueOf(option: string): string | undefined {
  const given = process.argv.find((each) => each.startsWith(`${option}=`));
  return given?.slice(option.length + 1);
}

async function measure(): Promise<void> {
  const machine = machineText();
  const results: Record<string, unknown> = { machine, at: new Date().toISOString() };
  const texts: string[] = [];
  if (!asked.has('--postgres')) {
    const report = await sqliteReport(quick);
    results['sqlite'] = report.json();
    texts.push('SQLite:', report.text(sqliteWidths));
  }
  if (!asked.has('--sqlite')) {
    const server = await durablePostgres();
    if (typeof server === 'string') texts.push(server);
    else {
      try {
        const report = await postgresReport(server.url, quick);
        results['postgres'] = report.json();
        texts.push(
          'PostgreSQL, on the same machine, `fsync` and `synchronous_commit` on:',
          report.text(postgresWidths),
        );
      } finally {
        await server.stop();
      }
    }
  }
  const text = [...texts, `Measured on ${machine}.`].join('\n\n');
  console.log(text);
  writeFileSync(fileURLToPath(new URL('results.json', import.meta.url)), `${JSON.stringify(results, null, 2)}\n`);
  if (asked.has('--readme')) fillIn(new URL('README.md', import.meta.url), 'bench', text);
}
