import type { Json } from '../json.ts';
import { isSame } from './equality.ts';
import type { Call, Keyword } from './keyword.ts';
import { anyOfThese, refuse, shortened } from './place.ts';
import { agreed, isList } from './verdict.ts';
import type { Verdict } from './verdict.ts';

/** Keywords about a value as a whole, about texts and about numbers. */
export const valueKeywords: Readonly<Record<string, Keyword>> = {
  type,
  const: (call) => choice(call, [call.operand]),
  enum: (call) => (isList(call.operand) ? choice(call, call.operand) : 'unknown'),
  minLength: (call) => length(call, 'least', (count, bound) => count >= bound),
  maxLength: (call) => length(call, 'most', (count, bound) => count <= bound),
  pattern,
  minimum: (call) => numeric(call, 'at least', (value, bound) => agreed(value >= bound)),
  maximum: (call) => numeric(call, 'at most', (value, bound) => agreed(value <= bound)),
  exclusiveMinimum: (call) => numeric(call, 'more than', (value, bound) => agreed(value > bound)),
  exclusiveMaximum: (call) => numeric(call, 'less than', (value, bound) => agreed(value < bound)),
  multipleOf: (call) => numeric(call, 'a multiple of', multiple),
};

const articles: ReadonlyMap<string, string> = new Map([
  ['string', 'a string'],
  ['number', 'a number'],
  ['integer', 'a whole number'],
  ['boolean', 'a boolean'],
  ['null', 'null'],
  ['array', 'an array'],
  ['object', 'an object'],
]);

function type({ operand, place, judge }: Call): Verdict {
  const types = isList(operand) ? operand : [operand];
  judge.budget.spend(types.length);
  if (!types.every((name) => typeof name === 'string' && articles.has(name))) return 'unknown';
  if (types.some((name) => isOfType(name as string, place.value))) return 'fits';
  const wanted = types.map((name) => articles.get(name as string)!).join(' or ');
  return refuse(place, `it must be ${wanted}, not ${articles.get(typeOf(place.value))!}`, wanted);
}

function isOfType(name: string, value: Json): boolean {
  return name === 'integer' ? Number.isInteger(value) : typeOf(value) === name;
}

function typeOf(value: Json): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'array' : typeof value;
}

function choice({ place, judge }: Call, choices: readonly Json[]): Verdict {
  if (choices.some((each) => isSame(each, place.value, judge.budget))) return 'fits';
  const wanted = anyOfThese(choices);
  return refuse(place, `it must be ${wanted}`, wanted);
}

/** JSON Schema and zod count code points, valibot and arktype UTF-16 units: both counts must agree. */
function length({ operand, place, judge }: Call, bound: string, isIn: (count: number, to: number) => boolean): Verdict {
  if (typeof place.value !== 'string') return 'fits';
  if (typeof operand !== 'number') return 'unknown';
  const units = place.value.length;
  let points = units;
  // n units are at least n / 2 code points
  if (isIn(units, operand) !== isIn(Math.ceil(units / 2), operand)) {
    judge.budget.spend(units / 16);
    points = codePoints(place.value);
  }
  const verdict = agreed(isIn(units, operand), isIn(points, operand));
  return verdict === 'differs' ? refuse(place, `it must have at ${bound} ${operand} characters`) : verdict;
}

function codePoints(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

function pattern({ operand, place, judge }: Call): Verdict {
  if (typeof place.value !== 'string') return 'fits';
  if (typeof operand !== 'string') return 'unknown';
  const verdict = judge.matches(operand, place.value);
  return verdict === 'differs' ? refuse(place, shortened(`it must match the pattern ${operand}`)) : verdict;
}

function numeric(
  { operand, place, judge }: Call,
  relation: string,
  compare: (value: number, operand: number) => Verdict,
): Verdict {
  if (typeof place.value !== 'number') return 'fits';
  if (typeof operand !== 'number') return 'unknown';
  judge.budget.spend(1);
  const verdict = compare(place.value, operand);
  return verdict === 'differs' ? refuse(place, `it must be ${relation} ${operand}`) : verdict;
}

/**
 * JSON Schema divides decimal numbers. Libraries divide binary ones: valibot and arktype without a remainder, zod
 * with a tolerance.
 */
function multiple(value: number, divisor: number): Verdict {
  if (divisor <= 0) return 'unknown';
  const quotient = value / divisor;
  const tolerance = 8 * Number.EPSILON * Math.max(Math.abs(quotient), 1);
  return agreed(
    isDecimalMultiple(value, divisor),
    value % divisor === 0,
    Math.abs(quotient - Math.round(quotient)) <= tolerance,
  );
}

function isDecimalMultiple(value: number, divisor: number): boolean {
  const [a, b] = [decimal(value), decimal(divisor)];
  const exponent = Math.min(a.exponent, b.exponent);
  return (a.digits * 10n ** BigInt(a.exponent - exponent)) % (b.digits * 10n ** BigInt(b.exponent - exponent)) === 0n;
}

/** A number as it is written in JSON: `digits` times ten to the power of `exponent`. */
function decimal(value: number): { digits: bigint; exponent: number } {
  const [significand = '', power = '0'] = value.toExponential().split('e');
  const [whole = '', fraction = ''] = significand.split('.');
  return { digits: BigInt(whole + fraction), exponent: Number(power) - fraction.length };
}
