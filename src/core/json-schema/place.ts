import type { Json } from '../json.ts';
import type { Evaluated } from './evaluated.ts';
import type { Scope } from './resources.ts';

const maxIssues = 20;
/** Maximum number of characters of a path or of a list of choices in a message. */
const maxShown = 200;

export interface Found {
  readonly path: string;
  readonly message: string;
  /** The expected value, for a list of alternatives; null for another kind of fault. */
  readonly wanted: string | null;
}

/** A value that a schema is applied to. */
export interface Place {
  readonly value: Json;
  readonly path: string;
  readonly depth: number;
  readonly found: Found[];
  /** The resources that led to the schema. */
  readonly scope: Scope;
  /** Collects what the schema evaluates; null if nothing asks for it. */
  readonly evaluated: Evaluated | null;
}

export function refuse(place: Place, message: string, wanted: string | null = null): 'differs' {
  if (place.found.length < maxIssues) place.found.push({ path: place.path, message, wanted });
  return 'differs';
}

/** The verdict of a schema that is not judged. It may evaluate any member. */
export function undecided(place: Place): 'unknown' {
  place.evaluated?.markAll('unknown');
  return 'unknown';
}

export function memberPlace(place: Place, name: string, value: Json | undefined): Place {
  const path = place.path === '' ? name : `${place.path}.${name}`;
  return { ...place, value: value ?? null, path, evaluated: null };
}

export function itemPlace(place: Place, value: Json, at: number): Place {
  return { ...place, value, path: `${place.path}[${at}]`, evaluated: null };
}

/** The same place without a report of its faults. */
export function silently(place: Place): Place {
  return { ...place, found: [] };
}

export function shortened(text: string): string {
  return text.length <= maxShown ? text : `${text.slice(0, maxShown)}…`;
}

/** Joins choices by `or` up to the length of a message. */
export function anyOfThese(choices: readonly Json[]): string {
  const texts: string[] = [];
  for (let length = 0; texts.length < choices.length && length <= maxShown; length += texts.at(-1)!.length) {
    const choice = choices[texts.length]!;
    texts.push(typeof choice === 'object' && choice !== null ? 'another value' : JSON.stringify(choice));
  }
  return shortened(texts.join(' or '));
}
