import { CloacinaError, PackageNotFoundError } from '../../core/error.ts';
import type { NewExecution, PinBy, Transition } from '../transition.ts';
import { PinRefusedError } from '../transition.ts';
import type { PackageStatus } from '../registry/versions.ts';
import { all } from '../script.ts';
import type { Dialect, On, Script } from '../script.ts';
import { Columns } from '../tables/table.ts';

/*
 * A transaction that pins an execution to a version holds the row of that version until its end, and sees that the version
 * may be used; one that takes a version away locks its row and then counts the executions that are pinned to it. So one of
 * the two always sees the other. Rows of versions are locked before those of schedules and executions, and among themselves
 * by age; `package/registry/commands.ts` has the whole order of the locks of a registry's acts.
 */

/** What of a new execution says to which version it is to be pinned. */
export type Pinning = Pick<NewExecution, 'tenant' | 'workflow' | 'pin' | 'pinBy'>;

/** True if it is pinned to the version that its channel points to at the commit. */
export function followsChannel({ pin, pinBy }: Pick<Pinning, 'pin' | 'pinBy'>): boolean {
  return pin !== null && pinBy === 'channel';
}

/** The different pinnings among many, numbered from 0. */
export class Pinnings {
  readonly list: Pinning[] = [];
  readonly #numbers = new Map<string, number>();

  constructor(among: readonly Pinning[]) {
    for (const one of among) {
      const key = keyOf(one);
      if (key === null || this.#numbers.has(key)) continue;
      this.#numbers.set(key, this.list.length);
      this.list.push(one);
    }
  }

  /** Null for what is pinned to nothing. */
  numberOf(one: Pinning): number | null {
    const key = keyOf(one);
    return key === null ? null : this.#numbers.get(key)!;
  }

  get rows(): WantedVersion[] {
    return this.list.map(({ tenant, workflow, pin, pinBy }, n) => {
      return { n, tenant, package: pin!.package, workflow, version: pin!.version, pinBy };
    });
  }
}

function keyOf({ tenant, workflow, pin, pinBy }: Pinning): string | null {
  return pin === null ? null : JSON.stringify([tenant, pin.package, workflow, pin.version, pinBy]);
}

/** The version that a pinning comes to, its row held. */
export interface PinnedVersion {
  /** The number of the pinning. */
  readonly n: number | string;
  readonly version: string;
  readonly digest: string;
  readonly status: PackageStatus;
}

/** A row of `wanted` in `pinnedText`: a numbered pinning. */
interface WantedVersion {
  readonly n: number;
  readonly tenant: string;
  readonly package: string;
  readonly workflow: string;
  readonly version: string;
  readonly pinBy: PinBy;
}

export const wantedVersions: Columns<WantedVersion> = new Columns<WantedVersion>({
  n: 'int',
  tenant: 'text',
  package: 'text',
  workflow: 'text',
  version: 'text',
  pinBy: 'text',
});

/**
 * Parts of a statement: `wanted`, by a query that gives its columns, and `held`, which has a row for each of them whose
 * version is there. One that follows its channel goes where that points to, if the workflow is still there.
 */
export function pinnedText(wanted: string, dialect: Dialect): string {
  return `wanted as (${wanted}),
  aims as (select w.n, w.tenant, w.package, coalesce(c.version, w.version) as version from wanted w
    left join channel_workflows f on w.pin_by = 'channel' and f.tenant = w.tenant and f.package = w.package and f.workflow = w.workflow
    left join channels c on c.tenant = f.tenant and c.package = f.package and c.channel = 'live'),
  held as (select a.n, p.version, p.digest, p.status from aims a
    join packages p on p.tenant = a.tenant and p.name = a.package and p.version = a.version
    order by p.registered_at, p.id${dialect.lock('key_share')})`;
}

/** A condition on `wanted w left join held h`: the version is not there, or takes no new executions. */
export const refusedText = `h.n is null or h.status = 'deleted' or (w.pin_by <> 'origin' and h.status <> 'published')`;

/** The versions that new executions are pinned to, held until the end of the transaction. */
export class Pins {
  readonly #pinnings: Pinnings;
  readonly #held: ReadonlyMap<number, PinnedVersion>;

  constructor(pinnings: Pinnings, held: readonly PinnedVersion[]) {
    this.#pinnings = pinnings;
    this.#held = new Map(held.map((row) => [Number(row.n), row]));
  }

  /** Why an execution cannot be pinned so: PACKAGE_NOT_FOUND, PACKAGE_UNAVAILABLE; null where it can. */
  fault(one: Pinning): CloacinaError | null {
    const { pin, pinBy } = one;
    if (pin === null) return null;
    const held = this.#held.get(this.#pinnings.numberOf(one)!);
    if (held === undefined || held.status === 'deleted') {
      return new PackageNotFoundError(pin.package, (held ?? pin).version);
    }
    const { version, status } = held;
    return pinBy === 'origin' || status === 'published' ? null : unavailable(pin.package, version, status);
  }

  /**
   * The execution as it is to be created. Where its channel has moved on it is for another version, whose own schema must
   * look at the input. Throws PACKAGE_NOT_FOUND, PACKAGE_UNAVAILABLE.
   */
  settled(create: NewExecution): NewExecution {
    const { pin } = create;
    if (pin === null) return create;
    const fault = this.fault(create);
    if (fault !== null) throw fault;
    const { version, digest } = this.#held.get(this.#pinnings.numberOf(create)!)!;
    if (digest === pin.digest) return create;
    const moved = { package: pin.package, version, digest };
    return { ...create, pin: moved, buildId: digest, input: create.given ?? create.input, inputParsed: false };
  }

  /** What followed its channel and cannot be pinned to where it came. */
  get stuck(): readonly (PinnedVersion | undefined)[] {
    const { list } = this.#pinnings;
    return list.flatMap((one, n) => (followsChannel(one) && this.fault(one) !== null ? [this.#held.get(n)] : []));
  }
}

/**
 * Holds the versions that new executions are to be pinned to; where nothing is pinned it costs nothing. While a row was
 * waited for, its version may have been taken away and the channel moved on, which only a new statement sees.
 */
export function* lockPinnedVersions({ dialect }: On, among: readonly Pinning[]): Script<Pins> {
  const pinnings = new Pinnings(among);
  if (pinnings.list.length === 0) return new Pins(pinnings, []);
  const columns = wantedVersions.list.map(({ name }, i) => `c${i} as ${name}`).join(', ');
  const wanted = `select ${columns} from (${dialect.fields('$1', wantedVersions.list.length)}) r`;
  const text = `with ${pinnedText(wanted, dialect)} select n, version, digest, status from held`;
  const given = JSON.stringify(pinnings.rows.map((row) => wantedVersions.params(row)));
  for (let before = ''; ;) {
    const pins = new Pins(pinnings, yield* all<PinnedVersion>(text, given));
    const stuck = JSON.stringify(pins.stuck);
    if (pins.stuck.length === 0 || stuck === before) return pins;
    before = stuck;
  }
}

/** All executions that a batch makes. */
export function madeBy(transitions: readonly Transition[]): NewExecution[] {
  const made: NewExecution[] = [];
  for (const { create, effects } of transitions) {
    if (create !== null) made.push(create);
    if (effects !== null) made.push(...effects.children);
  }
  return made;
}

/** Throws PinRefusedError where executions of a batch cannot be pinned. */
export function checkPins(pins: Pins, made: readonly NewExecution[]): void {
  const refused = new Map<string, CloacinaError>();
  for (const create of made) {
    const fault = pins.fault(create);
    if (fault !== null) refused.set(create.id, fault);
  }
  if (refused.size > 0) throw new PinRefusedError(refused);
}

/** The error of an execution, or an activation, that a version does not take. */
export function unavailable(name: string, version: string, status: 'yanked' | 'quarantined'): CloacinaError {
  const reason = status === 'yanked' ? 'it was yanked' : 'it is quarantined (CrashLoop) because it crashed repeatedly';
  const message = `package ${name} v${version} accepts no new executions: ${reason}; activate another version or roll back`;
  return new CloacinaError('PACKAGE_UNAVAILABLE', message);
}
