/** A runner whose tasks block its event loop: database, lease, stall, the input of what it starts. */
import { Runner } from '../../src/index.ts';
import { spinning } from './workflows.ts';

const [database = '', lease = '', stall = '', input = '{}'] = process.argv.slice(2);
process.env['SPINS'] = 'yes';
const runner = await Runner.open(database, { workflows: [spinning], lease, stall });
await runner.start(spinning, JSON.parse(input));
process.on('SIGTERM', () => void runner.close({ drain: 0 }).then(() => process.exit(0)));
