import type { z } from 'zod';
import type { Problem } from '../../core/error.ts';

type ZodIssue = z.core.$ZodIssue;

/** Maximum number of listed problems: a hostile file must not produce an error of a million lines. */
export const maxListed = 100;
/** Maximum length of a path or a message, characters, for the same reason. */
const maxShown = 500;

/**
 * Converts the issues of a closed schema to problems, a few more than are listed. Codes: `UNKNOWN_KEY`, `MISSING_KEY`,
 * `WRONG_TYPE`, `BAD_VALUE`. `top` begins the paths, for the schema of a part.
 */
export function zodProblems(error: z.core.$ZodError, top = ''): Problem[] {
  return error.issues.slice(0, maxListed + 1).flatMap((issue) => issueProblems(issue, top));
}

function issueProblems(issue: ZodIssue, top: string): Problem[] {
  const path = joinPath(top, issue.path);
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.slice(0, maxListed + 1).map((key) => ({
        code: 'UNKNOWN_KEY',
        path: joinPath(path, [key]),
        message: `'${key}' is not a key of this object`,
        hint: 'remove it, or check its spelling',
      }));
    case 'invalid_type':
      if (issue.input === undefined) return [{ code: 'MISSING_KEY', path, message: 'it is missing' }];
      return [{ code: 'WRONG_TYPE', path, message: `it must be ${article(issue.expected)}` }];
    case 'invalid_value':
      if (issue.input === undefined) return [{ code: 'MISSING_KEY', path, message: 'it is missing' }];
      return [
        {
          code: 'BAD_VALUE',
          path,
          message: `it must be ${issue.values.map((value) => JSON.stringify(value)).join(' or ')}`,
        },
      ];
    case 'custom':
      if (issue.input === undefined) return [{ code: 'MISSING_KEY', path, message: 'it is missing' }];
      return [{ code: 'BAD_VALUE', path, message: issue.message }];
    default:
      return [{ code: 'BAD_VALUE', path, message: issue.message }];
  }
}

function article(type: string): string {
  if (type === 'int') return 'a whole number';
  if (type === 'record') return 'an object';
  return `${/^[aeio]/.test(type) ? 'an' : 'a'} ${type}`;
}

/** Formats a path such as `workflows[0].tasks[2].needs.raw`; a key that is no identifier is quoted. */
export function joinPath(top: string, keys: readonly PropertyKey[]): string {
  let path = top;
  for (const key of keys) {
    if (typeof key === 'number') path += `[${key}]`;
    else if (/^[A-Za-z_$][\w$]*$/.test(String(key))) path += path === '' ? String(key) : `.${String(key)}`;
    else path += `[${JSON.stringify(String(key))}]`;
  }
  return path;
}

/** Returns the problems for an error and their combined text. */
export function listProblems(problems: readonly Problem[]): { problems: readonly Problem[]; text: string } {
  const listed = problems.slice(0, maxListed).map(shortProblem);
  if (problems.length > maxListed) listed.push({ code: 'MORE', path: '', message: 'there are more problems' });
  const lines = listed.map(
    (problem) =>
      `${problem.path === '' ? '' : `${problem.path}: `}${problem.message}${problem.hint === undefined ? '' : ` (${problem.hint})`}`,
  );
  return { problems: listed, text: lines.join('; ') };
}

function shortProblem(problem: Problem): Problem {
  return { ...problem, path: shortened(problem.path), message: shortened(problem.message) };
}

function shortened(text: string): string {
  return text.length <= maxShown ? text : `${text.slice(0, maxShown)}…`;
}
