/** The parts of a name by which a workflow is started: `name`, `package/name`, `package@1.0.0/name`. */
export interface WorkflowName {
  readonly workflow: string;
  /** `embedded` for an embedded workflow; null for any package, or none. */
  readonly package: string | null;
  /** A version, a digest or a channel of the package; null for its live channel. */
  readonly at: string | null;
}

const embeddedPackage = 'embedded';

/** A package's name may hold a slash and an at sign, as `@scope/name`; the name of a workflow in a package holds no slash. */
export function parseWorkflowName(name: string): WorkflowName {
  const slash = name.lastIndexOf('/');
  const workflow = name.slice(slash + 1);
  if (slash === -1) return { workflow, package: null, at: null };
  const from = name.slice(0, slash);
  const sign = from.lastIndexOf('@');
  if (sign <= 0) return { workflow, package: from, at: null };
  return { workflow, package: from.slice(0, sign), at: from.slice(sign + 1) };
}

/** The full name of a workflow in a package (null: embedded). */
export function fullWorkflowName(from: string | null, workflow: string): string {
  return `${from ?? embeddedPackage}/${workflow}`;
}

/** A digest is abbreviated to 12 hex digits at least. */
const digestPattern = /^sha256:[0-9a-f]{12,64}$/;
const channelPattern = /^[A-Za-z][\w.-]{0,99}$/;

/** The part behind the `@` of a package: a version begins with a digit, and the name of a channel with a letter. */
export function kindOfSelector(at: string): 'version' | 'digest' | 'channel' | 'invalid' {
  if (/^\d/.test(at)) return 'version';
  if (digestPattern.test(at)) return 'digest';
  return isChannelName(at) ? 'channel' : 'invalid';
}

export function isChannelName(name: unknown): name is string {
  return typeof name === 'string' && channelPattern.test(name);
}
