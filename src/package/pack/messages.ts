import type { RolldownLog } from 'rolldown';
import { isError } from '../../core/foreign/realms.ts';
import { CloacinaError } from '../../core/error.ts';
import { displayPath } from './paths.ts';
import type { Project } from './project.ts';

/** Returns BUILD_FAILED with all messages, each once. */
export function buildFailed(project: Project, messages: readonly string[], cause?: unknown): CloacinaError {
  const { name, version } = project.package;
  const text = [...new Set(messages)].toSorted().join('\n');
  return new CloacinaError('BUILD_FAILED', `package ${name} v${version} does not build: ${text}`, { cause });
}

/** The errors of the bundler; empty for any other thrown value. */
export function bundlerLogs(error: unknown): readonly RolldownLog[] {
  const errors: unknown = isError(error) ? Reflect.get(error, 'errors') : undefined;
  return Array.isArray(errors) ? (errors as readonly RolldownLog[]) : [];
}

/** `src/index.ts:3:7: Unexpected token`, and the surrounding lines if the bundler supplies them. */
export function logMessage(project: Project, log: RolldownLog): string {
  return `${headline(project, log)}${log.frame === undefined ? '' : `\n${log.frame}`}`;
}

/** The same without the surrounding lines. */
export function headline(project: Project, log: RolldownLog): string {
  const [first = ''] = log.message.replace(/^\[\w+\] /, '').split('\n');
  const file = log.loc?.file ?? log.id;
  const place = log.loc === undefined ? '' : `:${log.loc.line}:${log.loc.column + 1}`;
  const prefix = file === undefined ? '' : `${displayPath(project.dir, file)}${place}: `;
  const hint = log.code === 'UNLOADABLE_DEPENDENCY' && first.includes('?') ? queryHint : '';
  return `${prefix}${first.trim()}${hint}`;
}

const queryHint = "; to import a file as text or bytes, use { type: 'text' } or { type: 'bytes' }";
