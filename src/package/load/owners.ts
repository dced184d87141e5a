import type { WantedVersion } from '../../store/registry/versions.ts';
import type { IsolateExit } from '../isolate/isolate.ts';
import { CrashLoop } from './crash-loop.ts';

/** A version as one tenant has it. */
interface Owner {
  version: WantedVersion;
  crashes: CrashLoop;
  /** The registry's serial from which the version is to be reported as loaded; infinite once that is done. */
  tellFrom: number;
}

/**
 * The tenants that want a version in this runner; once none does, the last ones that did. They share its bytes, but
 * neither crashes nor reports.
 */
export class Owners {
  readonly #owners = new Map<string, Owner>();

  get versions(): readonly WantedVersion[] {
    return Array.from(this.#owners.values(), ({ version }) => version);
  }

  /** Sets the tenants that want the version now, and returns the versions of those that do not any more. */
  update(wanted: readonly WantedVersion[], isKept: (version: WantedVersion) => boolean): readonly WantedVersion[] {
    for (const version of wanted) {
      const owner = this.#owners.get(version.tenant);
      if (owner !== undefined) owner.version = version;
      else this.#owners.set(version.tenant, { version, crashes: new CrashLoop(), tellFrom: 0 });
    }
    const tenants = new Set(wanted.map(({ tenant }) => tenant));
    const left = this.versions.filter((version) => !tenants.has(version.tenant) && !isKept(version));
    for (const { tenant } of left) this.#owners.delete(tenant);
    return left;
  }

  /** Records the end of a process at a time (epoch ms); returns its version if that was the end of a crash loop. */
  crashed(exit: IsolateExit, at: number): WantedVersion | undefined {
    const owner = this.#owners.get(exit.tenant);
    if (owner?.crashes.exited(exit, at) !== true) return undefined;
    owner.crashes = new CrashLoop();
    return owner.version;
  }

  /**
   * The versions to report as loaded at a serial of the registry: of tenants that did not want it when it was loaded, or
   * that were given another chance.
   */
  untold(serial: number): readonly WantedVersion[] {
    const untold = [...this.#owners.values()].filter(({ version: { status }, tellFrom }) => {
      return status !== 'quarantined' && tellFrom <= serial;
    });
    return untold.map(({ version }) => version);
  }

  /** The version needs no report as loaded before the registry has this serial. */
  tellFrom({ tenant }: WantedVersion, serial: number): void {
    const owner = this.#owners.get(tenant);
    if (owner !== undefined) owner.tellFrom = serial;
  }
}
