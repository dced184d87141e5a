import type { ExecutionRecord } from '../../store/store.ts';
import type { AttemptsHost } from './attempts.ts';
import { suspectLosses, takeTurn } from '../poison-suspects.ts';
import type { InputOutcome, Outcome, Question, TaskCall, TaskHost, WorkflowCode } from '../workflow-code.ts';
import type { LiveState } from './live-state.ts';
import type { SlotRequest } from '../slots.ts';

/** What is charged to a suspect. */
interface Charge {
  /** Runners that died before this one while the row said so, without progress in between. */
  before: number;
  /** What the row says. */
  said: number;
  /** It is being loaded: gives back the turn that it has for that. */
  loading: (() => void) | undefined;
  /** Questions under way. */
  open: number;
  /** What gives up a question that has not been asked. */
  readonly waiting: Set<() => void>;
  /** What gives back turns. */
  readonly turns: Set<() => void>;
}

/** The answer that nobody waits for: the execution was held, or ended, before the question was asked. */
const unasked = {
  status: 'lost',
  alone: true,
  error: { name: 'Error', code: 'INTERNAL', message: 'the call was abandoned before it began' },
} as const;

/**
 * The code of one execution. A question to it (`when`, `over`, `input`, `until`, a schema) has no attempts that could be
 * charged, so a process that dies of one is charged to the execution, as one that dies of loading it is: where the
 * execution is a suspect, its row says so before the question is asked, until the answer is durable. Questions of suspects
 * take turns with their attempts, one at a time in a runner: so the row of an innocent one that queues says nothing.
 */
export class Questions implements WorkflowCode {
  readonly #state: LiveState;
  readonly #code: WorkflowCode;
  readonly #host: Pick<AttemptsHost, 'clock' | 'suspects'>;
  /** Few executions are suspects: made when one is. */
  #charge: Charge | undefined;

  constructor(state: LiveState, code: WorkflowCode, host: Pick<AttemptsHost, 'clock' | 'suspects'>) {
    this.#state = state;
    this.#code = code;
    this.#host = host;
  }

  /** Taken up: the claim of a suspect has charged the loading already, and has the turn that `end` gives back. */
  loading({ loadAttempts }: Pick<ExecutionRecord, 'loadAttempts'>, end: (() => void) | undefined): void {
    if (loadAttempts === 0) return;
    const charge = this.#suspected();
    charge.before = end === undefined ? loadAttempts : loadAttempts - 1;
    charge.said = loadAttempts;
    charge.loading = end;
    if (end !== undefined) charge.turns.add(end);
  }

  /** It is in memory, and has gone one turn. */
  loaded(): void {
    const end = this.#charge?.loading;
    if (end === undefined) return;
    this.#charge!.loading = undefined;
    this.#write();
    this.#state.after(() => this.#over(end));
  }

  run(call: TaskCall, host: TaskHost): Promise<Outcome> {
    return this.#code.run(call, host);
  }

  async ask(question: Question, call: TaskCall): Promise<Outcome> {
    return (await this.charged(() => this.#code.ask(question, call))) ?? unasked;
  }

  async parseInput(input: string, maxPayload: number): Promise<InputOutcome> {
    return (await this.charged(() => this.#code.parseInput(input, maxPayload))) ?? unasked;
  }

  async parseSignal(task: string, payload: string, maxPayload: number): Promise<InputOutcome> {
    return (await this.charged(() => this.#code.parseSignal(task, payload, maxPayload))) ?? unasked;
  }

  abandon(call: TaskCall): void {
    this.#code.abandon(call);
  }

  /** Calls code of the user's, charged where the execution is a suspect; undefined where it was held or ended before. */
  async charged<T>(act: () => Promise<T>): Promise<T | undefined> {
    if (this.#state.head.crashCount < suspectLosses) return act();
    const charge = this.#suspected();
    const end = await this.#turn(charge);
    if (end === undefined) return undefined;
    charge.turns.add(end);
    charge.open++;
    try {
      return (await this.#marked(charge)) ? await act() : undefined;
    } finally {
      // with what the answer changes, in one transition
      charge.open--;
      this.#write();
      this.#state.after(() => this.#over(end));
    }
  }

  /** What has not been asked yet is not any more: the execution is held, or ends. */
  drop(): void {
    const charge = this.#charge;
    if (charge === undefined) return;
    for (const drop of charge.waiting) drop();
    charge.waiting.clear();
    // what is handed back has not ended its runner
    if (!this.#state.gone) this.loaded();
    else for (const end of charge.turns) this.#over(end);
  }

  #suspected(): Charge {
    this.#charge ??= { before: 0, said: 0, loading: undefined, open: 0, waiting: new Set(), turns: new Set() };
    return this.#charge;
  }

  /** The turn of a suspect, as attempts have it. */
  #turn({ waiting }: Charge): Promise<(() => void) | undefined> {
    return new Promise((resolve) => {
      const asked: { request?: SlotRequest | undefined } = {}; // a free turn is taken before `request` returns
      const drop = (): void => {
        if (asked.request !== undefined) asked.request.cancelled = true;
        resolve(undefined);
      };
      waiting.add(drop);
      asked.request = this.#host.suspects.request(this.#state.head.priority, () => {
        waiting.delete(drop);
        resolve(takeTurn(this.#host));
      });
    });
  }

  /** Whether the row says that a question is asked; false where there is none to ask any more. */
  #marked({ waiting }: Charge): Promise<boolean> {
    return new Promise((resolve) => {
      const drop = (): void => resolve(false);
      waiting.add(drop);
      this.#write();
      this.#state.after(() => {
        waiting.delete(drop);
        resolve(!this.#state.still);
      });
    });
  }

  #over(end: () => void): void {
    this.#charge?.turns.delete(end);
    end();
  }

  #write(): void {
    const charge = this.#charge!;
    // progress is written with a zero
    if (this.#state.head.crashCount === 0) charge.before = charge.said = 0;
    const loads = charge.before + (charge.loading !== undefined || charge.open > 0 ? 1 : 0);
    if (loads === charge.said) return;
    charge.said = loads;
    this.#state.draft.loadAttempts = loads;
  }
}
