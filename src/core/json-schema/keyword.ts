import type { Json } from '../json.ts';
import type { Budget } from './budget.ts';
import type { Place } from './place.ts';
import type { Resources } from './resources.ts';
import type { Members, Verdict } from './verdict.ts';

/** One check of one value. */
export interface Judge {
  readonly budget: Budget;
  readonly resources: Resources;
  judge(schema: Json | undefined, place: Place): Verdict;
  /** `unknown` for a pattern that is not judged. */
  matches(pattern: string, text: string): Verdict;
}

export interface Call {
  /** The value of the keyword. */
  readonly operand: Json;
  /** The schema that has the keyword. */
  readonly schema: Members;
  readonly place: Place;
  readonly judge: Judge;
}

/** Judges a value by one keyword; `unknown` if the keyword is malformed. */
export type Keyword = (call: Call) => Verdict;
