import type { Json } from '../json.ts';
import { exhausted, maxDepth } from './budget.ts';
import type { Budget } from './budget.ts';
import type { Members } from './verdict.ts';

/** Returns true if two values are equal as JSON: names have no order. Throws `exhausted`. */
export function isSame(a: Json | undefined, b: Json | undefined, budget: Budget, depth = 0): boolean {
  budget.spend(1);
  if (typeof a === 'string' && typeof b === 'string' && a.length === b.length) budget.spend(a.length / 16);
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (depth > maxDepth) throw exhausted;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const names = Object.keys(a);
  budget.spend(names.length);
  if (names.length !== Object.keys(b).length) return false;
  return names.every(
    (name) => Object.hasOwn(b, name) && isSame((a as Members)[name], (b as Members)[name], budget, depth + 1),
  );
}

/** Returns a text that is the same for equal values and for no others. Throws `exhausted`. */
export function canonicalText(value: Json, budget: Budget, depth = 0): string {
  budget.spend(1);
  if (typeof value !== 'object' || value === null) {
    const text = JSON.stringify(value);
    budget.spend(text.length / 64);
    return text;
  }
  if (depth > maxDepth) throw exhausted;
  if (Array.isArray(value)) return `[${value.map((item: Json) => canonicalText(item, budget, depth + 1)).join()}]`;
  const members = value as Members;
  const names = Object.keys(members).filter((name) => members[name] !== undefined);
  const length = names.reduce((sum, name) => sum + name.length, 0);
  budget.spend((names.length + length / 64) * Math.log2(names.length + 1));
  const texts = names
    .toSorted()
    .map((name) => `${JSON.stringify(name)}:${canonicalText(members[name]!, budget, depth + 1)}`);
  return `{${texts.join()}}`;
}
