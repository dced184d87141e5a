import type { Json } from '../json.ts';
import type { Call, Keyword } from './keyword.ts';
import { memberPlace, refuse, shortened, silently, undecided } from './place.ts';
import { both, either, isList, isMembers } from './verdict.ts';
import type { Members, Verdict } from './verdict.ts';

/** Keywords about the members of an object. */
export const memberKeywords: Readonly<Record<string, Keyword>> = {
  properties: onMembers(properties),
  patternProperties: onMembers(patternProperties),
  additionalProperties: onMembers(additionalProperties),
  unevaluatedProperties: onMembers(unevaluatedProperties),
  propertyNames: onMembers((call, value) =>
    each(call, Object.keys(value), (name) => call.judge.judge(call.operand, memberPlace(call.place, name, name))),
  ),
  required: onMembers((call, value) => required(call, value, call.operand, 'it is missing')),
  dependentRequired: onMembers(dependentRequired),
  minProperties: onMembers((call, value) => count(call, value, 'least')),
  maxProperties: onMembers((call, value) => count(call, value, 'most')),
};

function onMembers(keyword: (call: Call, value: Members) => Verdict): Keyword {
  return (call) => (isMembers(call.place.value) ? keyword(call, call.place.value) : 'fits');
}

/** Returns the verdict of a condition that must hold for each. */
export function each<T>({ judge }: Call, list: readonly T[], condition: (one: T) => Verdict): Verdict {
  let verdict: Verdict = 'fits';
  for (const one of list) {
    judge.budget.spend(1);
    verdict = both(verdict, condition(one));
  }
  return verdict;
}

function properties(call: Call, value: Members): Verdict {
  const { operand, place, judge } = call;
  if (!isMembers(operand)) return undecided(place);
  return each(call, Object.keys(operand), (name) => {
    if (!Object.hasOwn(value, name)) return 'fits';
    place.evaluated?.mark(name, 'fits');
    return judge.judge(operand[name], memberPlace(place, name, value[name]));
  });
}

function patternProperties(call: Call, value: Members): Verdict {
  const { operand, place, judge } = call;
  if (!isMembers(operand)) return undecided(place);
  const names = Object.keys(value);
  return each(call, Object.keys(operand), (pattern) =>
    each(call, names, (name) => {
      const matches = judge.matches(pattern, name);
      place.evaluated?.mark(name, matches);
      return judgeIf(matches, call, operand[pattern], name);
    }),
  );
}

function additionalProperties(call: Call, value: Members): Verdict {
  const { operand, schema, place } = call;
  const known = isMembers(schema['properties']) ? schema['properties'] : {};
  const patterns = isMembers(schema['patternProperties']) ? Object.keys(schema['patternProperties']) : [];
  place.evaluated?.markAll('fits');
  return each(call, Object.keys(value), (name) => {
    if (Object.hasOwn(known, name)) return 'fits';
    call.judge.budget.spend(patterns.length);
    const isKnown = patterns.map((pattern) => call.judge.matches(pattern, name)).reduce(either, 'differs');
    return judgeIf(opposite(isKnown), call, operand, name);
  });
}

function unevaluatedProperties(call: Call, value: Members): Verdict {
  const { operand, place } = call;
  const verdict = each(call, Object.keys(value), (name) =>
    judgeIf(opposite(place.evaluated!.verdictOf(name)), call, operand, name),
  );
  place.evaluated!.markAll('fits');
  return verdict;
}

/** Judges a member by a schema that applies to it only on a condition. */
function judgeIf(condition: Verdict, { place, judge }: Call, schema: Json | undefined, name: string): Verdict {
  if (condition === 'differs') return 'fits';
  const member = memberPlace(place, name, (place.value as Members)[name]);
  if (condition === 'unknown') return judge.judge(schema, silently(member)) === 'fits' ? 'fits' : 'unknown';
  return schema === false ? refuse(member, 'unknown property') : judge.judge(schema, member);
}

function opposite(verdict: Verdict): Verdict {
  if (verdict === 'unknown') return 'unknown';
  return verdict === 'fits' ? 'differs' : 'fits';
}

function required(call: Call, value: Members, names: Json | undefined, message: string): Verdict {
  if (!isList(names)) return 'unknown';
  return each(call, names, (name) => {
    if (typeof name !== 'string') return 'unknown';
    return Object.hasOwn(value, name) ? 'fits' : refuse(memberPlace(call.place, name, null), message);
  });
}

function dependentRequired(call: Call, value: Members): Verdict {
  const { operand, place } = call;
  if (!isMembers(operand)) return undecided(place);
  return each(call, Object.keys(operand), (name) =>
    Object.hasOwn(value, name)
      ? required(call, value, operand[name], shortened(`it is missing, and ${name} requires it`))
      : 'fits',
  );
}

function count({ operand, place, judge }: Call, value: Members, bound: 'least' | 'most'): Verdict {
  if (typeof operand !== 'number') return 'unknown';
  const { length } = Object.keys(value);
  judge.budget.spend(length / 4);
  if (bound === 'least' ? length >= operand : length <= operand) return 'fits';
  return refuse(place, `it must have at ${bound} ${operand} properties`);
}
