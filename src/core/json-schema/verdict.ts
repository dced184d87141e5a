import type { Json } from '../json.ts';

/** `unknown`: the decision depends on something that is not judged here. */
export type Verdict = 'fits' | 'differs' | 'unknown';

/** Returns the verdict of two conditions that must both hold. */
export function both(a: Verdict, b: Verdict): Verdict {
  if (a === 'differs' || b === 'differs') return 'differs';
  return a === 'fits' ? b : a;
}

/** Returns the verdict of two conditions of which one must hold. */
export function either(a: Verdict, b: Verdict): Verdict {
  if (a === 'fits' || b === 'fits') return 'fits';
  return a === 'differs' ? b : a;
}

/** Returns `fits` if a condition holds by every way to count, `differs` if it holds by none. */
export function agreed(...counts: readonly boolean[]): Verdict {
  if (counts.every(Boolean)) return 'fits';
  return counts.some(Boolean) ? 'unknown' : 'differs';
}

export type Members = { readonly [name: string]: Json | undefined };

export function isList(value: Json | undefined): value is readonly Json[] {
  return Array.isArray(value);
}

export function isMembers(value: Json | undefined): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
