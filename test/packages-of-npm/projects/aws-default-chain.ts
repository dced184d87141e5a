// deps: @aws-sdk/client-sqs
// note: credentials from no place at all: what is the error?
import { workflow } from 'cloacina';
import { ListQueuesCommand, SQSClient } from '@aws-sdk/client-sqs';
const w = workflow('t');
const a = w.task('a', { retry: { attempts: 1 }, timeout: '20s' }, async () => {
  const sqs = new SQSClient({ region: 'eu-central-1', endpoint: 'http://127.0.0.1:1', maxAttempts: 1 });
  return (await sqs.send(new ListQueuesCommand({}))).QueueUrls ?? [];
});
export default w.returns(a);
