/** A runner in a worker thread: it reports that it is open, and its log after it was closed. */
import { once } from 'node:events';
import { parentPort, workerData } from 'node:worker_threads';
import * as library from '../../src/index.ts';
import { openWith } from './runner.ts';
import type { Place } from './runner.ts';

const { runner, work, logged } = await openWith(library, 'thread', workerData as Place);
const { id } = await runner.start(work, { n: 2 });
// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, no window
parentPort!.postMessage(id);
await once(parentPort!, 'message');
await runner.close({ drain: 0 });
// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, no window
parentPort!.postMessage(logged);
parentPort!.close();
