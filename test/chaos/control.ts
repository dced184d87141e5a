import { setTimeout } from 'node:timers/promises';
import { Client } from 'pg';

/** The columns of a runner. */
export interface Written {
  readonly events: number;
  /** The sum of the numbers of the last remembered batches of its lanes; 0 if there is none. */
  readonly batch: number;
}

/** The test's own view of the database: a new connection for each query, which is repeated if there is no answer. */
export class Control {
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  async query<Row extends object>(text: string, ...values: readonly unknown[]): Promise<readonly Row[]> {
    for (let tries = 0; ; tries++) {
      const client = new Client({ connectionString: this.#url, connectionTimeoutMillis: 5000 });
      client.on('error', () => undefined); // the query rejects
      try {
        await client.connect();
        const { rows } = await client.query<Row>(text, [...values]);
        return rows;
      } catch (error) {
        if (tries === 200) throw error;
      } finally {
        await client.end().catch(() => undefined);
      }
      await setTimeout(100);
    }
  }

  async runnersOf(pid: number): Promise<readonly string[]> {
    return (await this.query<{ id: string }>('select id from runners where pid = $1', pid)).map(({ id }) => id);
  }

  async owned(runners: readonly string[]): Promise<number> {
    const [row] = await this.query<{ n: number }>(
      'select count(*)::int as n from executions where owner = any($1)',
      runners,
    );
    return row!.n;
  }

  /** Those of these runners that are not declared dead. */
  async living(runners: readonly string[]): Promise<readonly string[]> {
    const rows = await this.query<{ id: string }>('select id from runners where id = any($1) and dead = 0', runners);
    return rows.map(({ id }) => id);
  }

  async written(runner: string): Promise<Written> {
    const [row] = await this.query<Written>(
      `select (select count(*) from events where runner = $1)::int as events,
       (select coalesce(sum(last), 0) from (select max(n) as last from batches where runner = $1 group by lane) l)::int as batch`,
      runner,
    );
    return row!;
  }

  async unfinished(): Promise<number> {
    const [row] = await this.query<{ n: number }>('select count(*)::int as n from executions where ended_at is null');
    return row!.n;
  }
}
