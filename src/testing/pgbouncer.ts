import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { freePort, unprivileged } from './postgres-server.ts';
import type { TestPostgres } from './postgres-server.ts';

const program = '/usr/sbin/pgbouncer';

/** Fewer than the clients have, so consecutive transactions may run on different ones. */
const serverConnections = 4;

/**
 * A pgbouncer before a server, which lends its connections for one transaction each. It ignores the `ignored` startup
 * parameters of a connection and refuses others. Returns a sentence if it is not installed.
 */
export async function pgbouncer(serverUrl: string, ignored: readonly string[] = []): Promise<TestPostgres | string> {
  if (!existsSync(program)) return `there is no ${program} (Debian's package pgbouncer)`;
  const server = new URL(serverUrl);
  const folder = mkdtempSync(join(tmpdir(), 'cloacina-pgbouncer-'));
  const port = await freePort();
  const file = join(folder, 'pgbouncer.ini');
  const database = server.pathname.slice(1);
  writeFileSync(
    file,
    `[databases]
${database} = host=${server.hostname} port=${server.port} user=${server.username} dbname=${database}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = ${serverConnections}
max_client_conn = 200
ignore_startup_parameters = ${ignored.join(', ')}
`,
  );
  const user = await unprivileged();
  if (user !== undefined) for (const path of [folder, file]) chownSync(path, user.uid, user.gid);
  const child = spawn(program, ['-q', file], { ...user, stdio: 'ignore' });
  const ended = once(child, 'exit');
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
    rmSync(folder, { recursive: true, force: true });
  };
  if (!(await listens(port))) {
    await stop();
    return `${program} does not start here`;
  }
  return { url: `postgres://${server.username}@127.0.0.1:${port}/${database}`, stop };
}

async function listens(port: number): Promise<boolean> {
  for (let tries = 0; tries < 100; tries++) {
    const socket = connect(port, '127.0.0.1');
    try {
      await once(socket, 'connect');
      return true;
    } catch {
      await setTimeout(50);
    } finally {
      socket.destroy();
    }
  }
  return false;
}
