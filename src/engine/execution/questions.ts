import type { ExecutionRecord } from '../../store/store.ts';
import type { AttemptsHost } from './attempts.ts';
import { suspectLosses, takeTurn } from '../poison-suspects.ts';
import type { InputOutcome, Outcome, Question, TaskCall, TaskHost, WorkflowCode } from '../workflow-code.ts';
import type { LiveState } from './live-state.ts';
import type { SlotRequest } from '../slots.ts';

/** The crashes that are charged to a suspect. */
interface Charge {
  /** The runners that crashed before this one during a load or a question, without progress in between. */
  before: number;
  /** The value in the row. */
  said: number;
  /** Ends the turn that the suspect has while it is loaded. */
  loading: (() => void) | undefined;
  /** Questions under way. */
  open: number;
  /** Each of these gives up a question that is not asked yet. */
  readonly waiting: Set<() => void>;
  /** Each of these ends a turn. */
  readonly turns: Set<() => void>;
}

/** The answer to a question that was not asked, because the execution was held or had ended. Its caller drops it. */
const unasked = {
  status: 'lost',
  alone: true,
  error: { name: 'Error', code: 'INTERNAL', message: 'the call was abandoned before it began' },
} as const;

/**
 * The user code of one execution. A question to it (`when`, `over`, `input`, `until`, a schema) has no attempts to charge. A
 * crash during a question is charged to the execution, like a crash during its loading: the row of a suspect contains the
 * charge before the question is asked, and until its answer is durable. Questions and attempts of suspects take turns, one
 * at a time in a runner, so an innocent suspect that waits for its turn is not charged.
 */
export class Questions implements WorkflowCode {
  readonly #state: LiveState;
  readonly #code: WorkflowCode;
  readonly #host: Pick<AttemptsHost, 'clock' | 'suspects'>;
  /** Undefined unless the execution is a suspect: few are. */
  #charge: Charge | undefined;

  constructor(state: LiveState, code: WorkflowCode, host: Pick<AttemptsHost, 'clock' | 'suspects'>) {
    this.#state = state;
    this.#code = code;
    this.#host = host;
  }

  /** The claim of a suspect has charged the loading already, and has the turn that `end` ends. */
  loading({ loadAttempts }: Pick<ExecutionRecord, 'loadAttempts'>, end: (() => void) | undefined): void {
    if (loadAttempts === 0) return;
    const charge = this.#suspected();
    charge.before = end === undefined ? loadAttempts : loadAttempts - 1;
    charge.said = loadAttempts;
    charge.loading = end;
    if (end !== undefined) charge.turns.add(end);
  }

  /** The execution is loaded, and has made its first step. */
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

  async parseInput(input: string, maxPayload: number, alone: boolean): Promise<InputOutcome> {
    const parse = (): Promise<InputOutcome> => this.#code.parseInput(input, maxPayload, alone || this.#isSuspect);
    return (await this.charged(parse)) ?? unasked;
  }

  async parseSignal(task: string, payload: string, maxPayload: number, alone: boolean): Promise<InputOutcome> {
    const parse = (): Promise<InputOutcome> =>
      this.#code.parseSignal(task, payload, maxPayload, alone || this.#isSuspect);
    return (await this.charged(parse)) ?? unasked;
  }

  abandon(call: TaskCall): void {
    this.#code.abandon(call);
  }

  /** Calls user code, charged if the execution is a suspect; undefined if the execution was held or had ended before. */
  async charged<T>(act: () => Promise<T>): Promise<T | undefined> {
    if (!this.#isSuspect) return act();
    const charge = this.#suspected();
    const end = await this.#turn(charge);
    if (end === undefined) return undefined;
    charge.turns.add(end);
    charge.open++;
    try {
      return (await this.#marked(charge)) ? await act() : undefined;
    } finally {
      // in one transition with the consequences of the answer
      charge.open--;
      this.#write();
      this.#state.after(() => this.#over(end));
    }
  }

  /** Gives up the questions that are not asked yet: the execution is held, or ends. */
  drop(): void {
    const charge = this.#charge;
    if (charge === undefined) return;
    for (const drop of charge.waiting) drop();
    charge.waiting.clear();
    // an execution that is handed back has not crashed its runner
    if (!this.#state.gone) this.loaded();
    else for (const end of charge.turns) this.#over(end);
  }

  get #isSuspect(): boolean {
    return this.#state.head.crashCount >= suspectLosses;
  }

  #suspected(): Charge {
    this.#charge ??= { before: 0, said: 0, loading: undefined, open: 0, waiting: new Set(), turns: new Set() };
    return this.#charge;
  }

  /** Waits for a turn, as attempts of suspects do; undefined if the question is given up before. */
  #turn({ waiting }: Charge): Promise<(() => void) | undefined> {
    return new Promise((resolve) => {
      const asked: { request?: SlotRequest | undefined } = {}; // a free turn is taken before `request` returns
      const drop = (): void => {
        if (asked.request !== undefined) asked.request.cancelled = true;
        resolve(undefined);
      };
      waiting.add(drop);
      asked.request = this.#host.suspects.request(this.#state.head.priority, this.#state.head.tenant, () => {
        waiting.delete(drop);
        resolve(takeTurn(this.#host));
      });
    });
  }

  /** Charges the question; resolves once the charge is durable, with false if the question is given up. */
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
    // progress resets the row to zero
    if (this.#state.head.crashCount === 0) charge.before = charge.said = 0;
    const loads = charge.before + (charge.loading !== undefined || charge.open > 0 ? 1 : 0);
    if (loads === charge.said) return;
    charge.said = loads;
    this.#state.draft.loadAttempts = loads;
  }
}
