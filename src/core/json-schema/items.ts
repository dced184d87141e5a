import type { Json } from '../json.ts';
import { canonicalText } from './equality.ts';
import type { Call, Keyword } from './keyword.ts';
import { itemPlace, refuse, silently, undecided } from './place.ts';
import { both, isList } from './verdict.ts';
import type { Verdict } from './verdict.ts';

/** Keywords about the items of an array. */
export const itemKeywords: Readonly<Record<string, Keyword>> = {
  prefixItems: onItems(prefixItems),
  items: onItems(items),
  unevaluatedItems: onItems(unevaluatedItems),
  contains: onItems(contains),
  minItems: onItems((call, value) => count(call, value, 'least')),
  maxItems: onItems((call, value) => count(call, value, 'most')),
  uniqueItems: onItems(uniqueItems),
};

function onItems(keyword: (call: Call, value: readonly Json[]) => Verdict): Keyword {
  return (call) => (isList(call.place.value) ? keyword(call, call.place.value) : 'fits');
}

function prefixItems({ operand, place, judge }: Call, value: readonly Json[]): Verdict {
  if (!isList(operand)) return undecided(place);
  let verdict: Verdict = 'fits';
  for (let at = 0; at < Math.min(operand.length, value.length); at++) {
    place.evaluated?.mark(at, 'fits');
    verdict = both(verdict, judge.judge(operand[at], itemPlace(place, value[at]!, at)));
  }
  return verdict;
}

function items({ operand, schema, place, judge }: Call, value: readonly Json[]): Verdict {
  const prefix = schema['prefixItems'];
  let verdict: Verdict = 'fits';
  for (let at = isList(prefix) ? prefix.length : 0; at < value.length; at++) {
    verdict = both(verdict, judge.judge(operand, itemPlace(place, value[at]!, at)));
  }
  place.evaluated?.markAll('fits');
  return verdict;
}

function unevaluatedItems({ operand, place, judge }: Call, value: readonly Json[]): Verdict {
  let verdict: Verdict = 'fits';
  for (const [at, item] of value.entries()) {
    judge.budget.spend(1);
    const known = place.evaluated!.verdictOf(at);
    if (known === 'fits') continue;
    const there = itemPlace(place, item, at);
    if (known === 'differs') verdict = both(verdict, judge.judge(operand, there));
    else if (judge.judge(operand, silently(there)) !== 'fits') verdict = both(verdict, 'unknown');
  }
  place.evaluated!.markAll('fits');
  return verdict;
}

function contains({ operand, schema, place, judge }: Call, value: readonly Json[]): Verdict {
  const { minContains: least = 1, maxContains: most = Infinity } = schema;
  if (typeof least !== 'number' || typeof most !== 'number') return 'unknown';
  const counts = { fits: 0, unknown: 0, differs: 0 };
  for (const [at, item] of value.entries()) {
    const verdict = judge.judge(operand, silently(itemPlace(place, item, at)));
    counts[verdict]++;
    place.evaluated?.mark(at, verdict);
  }
  const { fits, unknown } = counts;
  if (fits + unknown < least) return refuse(place, `at least ${least} items must fit \`contains\`, not ${fits}`);
  if (fits > most) return refuse(place, `at most ${most} items may fit \`contains\`, not ${fits}`);
  return fits >= least && fits + unknown <= most ? 'fits' : 'unknown';
}

function count({ operand, place }: Call, value: readonly Json[], bound: 'least' | 'most'): Verdict {
  if (typeof operand !== 'number') return 'unknown';
  if (bound === 'least' ? value.length >= operand : value.length <= operand) return 'fits';
  return refuse(place, `it must have at ${bound} ${operand} items`);
}

function uniqueItems({ operand, place, judge }: Call, value: readonly Json[]): Verdict {
  if (typeof operand !== 'boolean') return 'unknown';
  if (!operand) return 'fits';
  const seen = new Map<string, number>();
  for (const [at, item] of value.entries()) {
    const text = canonicalText(item, judge.budget);
    const first = seen.get(text);
    if (first !== undefined) return refuse(itemPlace(place, item, at), `it equals the item at ${first}`);
    seen.set(text, at);
  }
  return 'fits';
}
