import { CloacinaError } from '../../core/error.ts';
import { isTooDeep } from '../../core/json-text.ts';
import type { WorkflowSpec } from '../../core/definition/spec.ts';
import { reviveError } from '../../core/task-error.ts';
import type { TaskError } from '../../core/task-error.ts';
import { cleanText } from '../../core/text.ts';

/** Maximum number of differences between exports and manifest in a message. */
const shownFaults = 10;

/** Parses the specs that a guest sent. Throws a plain Error if they are malformed. */
export function readSpecs(text: string): readonly WorkflowSpec[] {
  if (isTooDeep(text)) throw new Error('exports of more levels than a value may have');
  const specs: unknown = JSON.parse(text);
  if (!Array.isArray(specs) || !specs.every(isSpec)) throw new Error('exports that are no list of workflows');
  return specs;
}

function isSpec(value: unknown): value is WorkflowSpec {
  if (typeof value !== 'object' || value === null) return false;
  return typeof Reflect.get(value, 'name') === 'string' && typeof Reflect.get(value, 'fingerprint') === 'string';
}

/** Compares the exports of a package with its manifest by names and graphs; returns the differences, or null. */
export function checkExports(actual: readonly WorkflowSpec[], expected: readonly WorkflowSpec[]): string | null {
  const found = new Map(actual.map((spec) => [spec.name, spec]));
  const faults: string[] = [];
  for (const { name, fingerprint } of expected) {
    const spec = found.get(name);
    found.delete(name);
    if (spec === undefined) faults.push(`it does not export workflow '${name}', which its manifest lists`);
    else if (spec.fingerprint !== fingerprint)
      faults.push(`the tasks of workflow '${name}' are not those of its manifest`);
  }
  for (const name of found.keys()) faults.push(`it exports workflow '${name}', which its manifest does not list`);
  if (faults.length > shownFaults) faults.splice(shownFaults, Infinity, `and ${faults.length - shownFaults} more`);
  return faults.length === 0 ? null : cleanText(faults.join('; '));
}

/** Returns PACKAGE_LOAD_FAILED; if the package's own code threw, that error with its stack is the cause. */
export function loadError(label: string, message: string, thrown?: TaskError): CloacinaError {
  const options = thrown === undefined ? undefined : { cause: reviveError(thrown) };
  return new CloacinaError('PACKAGE_LOAD_FAILED', `${label} did not load: ${message}`, options);
}

/**
 * Returns the place of an error in the sources of an unpacked package, as `src/index.ts:3:7: `; '' if its stack has no
 * frame there. `folder` is the name of the folder of the package.
 */
export function placeIn(stack: string, folder: string): string {
  for (const line of stack.split('\n')) {
    const path = line.replaceAll('\\', '/');
    const at = path.lastIndexOf(`/${folder}/source/`);
    const frame = at === -1 ? undefined : /^(.+:\d+:\d+)\)?$/.exec(path.slice(at + `/${folder}/source/`.length))?.[1];
    if (frame !== undefined) return `${frame}: `;
  }
  return '';
}
