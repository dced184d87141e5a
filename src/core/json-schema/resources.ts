import type { Json } from '../json.ts';
import { isList, isMembers } from './verdict.ts';
import type { Members } from './verdict.ts';

/** The root schema, or a schema in it with an `$id`: references and anchors in it are its own. */
export interface Resource {
  readonly root: Members;
  readonly uri: string;
  /** False for a schema of another dialect, whose keywords may mean something else. */
  readonly isJudged: boolean;
  readonly anchors: Map<string, Anchor>;
}

interface Anchor {
  readonly schema: Members;
  readonly isDynamic: boolean;
  /** Two schemas have this name. */
  isAmbiguous: boolean;
}

/** The resources whose schemas led to a schema, innermost first. */
export interface Scope {
  readonly resource: Resource;
  readonly outer: Scope | null;
}

/** A schema that a reference refers to, and the scope in which it is judged. */
export interface Target {
  readonly schema: Json | undefined;
  readonly scope: Scope;
}

const dialect = 'https://json-schema.org/draft/2020-12/schema';
/** Base of relative identifiers in a schema without an absolute one. */
const baseOfAll = 'schema:/';
/** Maximum number of schemas that are read for their identifiers; references in a larger schema are not judged. */
const maxSchemas = 50_000;
/** Maximum number of identifiers and references that are resolved as URIs, which takes up to 0.1 ms each. */
const maxUris = 500;
const maxReference = 500;

const keywordsWithSchema =
  'additionalProperties contains contentSchema else if items not propertyNames then unevaluatedItems unevaluatedProperties'.split(
    ' ',
  );
const keywordsWithList = ['allOf', 'anyOf', 'oneOf', 'prefixItems'];
const keywordsWithNames = ['$defs', 'definitions', 'dependentSchemas', 'patternProperties', 'properties'];

/** The resources of one schema document. References to other documents have no target. */
export class Resources {
  readonly scope: Scope;
  readonly #byRoot = new Map<Members, Resource>();
  /** Null for an identifier that two resources have. */
  readonly #byUri = new Map<string, Resource | null>();
  readonly #resolved = new Map<string, string | null>();
  #reading: 'open' | 'done' | 'too large' = 'open';

  constructor(root: Members) {
    const resource = this.#resourceOf(root, null) ?? newResource(baseOfAll, root, null);
    this.scope = { resource, outer: null };
    this.#add(resource);
  }

  /** Returns the scope inside of a schema; null if the schema is not judged. */
  enter(schema: Members, scope: Scope): Scope | null {
    const inner = this.#ownerOf(schema, scope.resource);
    if (inner === null || !inner.isJudged) return null;
    return within(inner, scope);
  }

  /** Returns the target of a `$ref`; null if it is not found here or is not certain. */
  resolve(reference: string, scope: Scope): Target | null {
    const found = this.#find(reference, scope.resource);
    return found === null ? null : { schema: found.schema, scope: within(found.resource, scope) };
  }

  /**
   * Returns the target of a `$dynamicRef`: that of a `$ref`, unless it is a dynamic anchor; then that anchor of the
   * outermost resource in the scope.
   */
  resolveDynamic(reference: string, scope: Scope): Target | null {
    const found = this.#find(reference, scope.resource);
    if (found === null) return null;
    let { schema, resource } = found;
    if (found.anchor !== null && resource.anchors.get(found.anchor)!.isDynamic) {
      for (let each: Scope | null = scope; each !== null; each = each.outer) {
        const anchor = each.resource.anchors.get(found.anchor);
        if (anchor?.isDynamic !== true) continue;
        if (anchor.isAmbiguous) return null;
        [schema, resource] = [anchor.schema, each.resource];
      }
    }
    return { schema, scope: within(resource, scope) };
  }

  #find(reference: string, from: Resource): { schema: Json; resource: Resource; anchor: string | null } | null {
    if (reference.length > maxReference || !this.#read()) return null;
    const hash = reference.indexOf('#');
    const uri = hash === -1 ? reference : reference.slice(0, hash);
    const fragment = hash === -1 ? '' : decoded(reference.slice(hash + 1));
    const resource = uri === '' ? from : this.#byUri.get(this.#absolute(uri, from.uri) ?? '');
    if (resource === undefined || resource === null || fragment === null) return null;
    if (fragment === '') return { schema: resource.root, resource, anchor: null };
    if (fragment.startsWith('/')) return this.#pointed(fragment, resource);
    const anchor = resource.anchors.get(fragment);
    if (anchor === undefined || anchor.isAmbiguous) return null;
    return { schema: anchor.schema, resource, anchor: fragment };
  }

  #pointed(pointer: string, from: Resource): { schema: Json; resource: Resource; anchor: null } | null {
    let schema: Json = from.root;
    let resource = from;
    for (const name of pointer.split('/').slice(1)) {
      const key = name.replaceAll('~1', '/').replaceAll('~0', '~');
      if (typeof schema !== 'object' || schema === null || !Object.hasOwn(schema, key)) return null;
      schema = (schema as Members)[key] ?? null;
      const owner: Resource | null = isMembers(schema) ? this.#ownerOf(schema, resource) : resource;
      if (owner === null) return null;
      resource = owner;
    }
    return { schema, resource, anchor: null };
  }

  /** Returns the resource that a schema in `outer` belongs to; null if its `$id` is not known to be one. */
  #ownerOf(schema: Members, outer: Resource): Resource | null {
    if (typeof schema['$id'] !== 'string' || schema === outer.root) return outer;
    return this.#read() ? (this.#byRoot.get(schema) ?? null) : null;
  }

  /** Reads identifiers and anchors. Returns false if there are too many schemas. */
  #read(): boolean {
    if (this.#reading !== 'open') return this.#reading === 'done';
    this.#reading = 'too large';
    const { resource } = this.scope;
    const rest: [Json, Resource][] = [[resource.root, resource]];
    for (let count = 0; rest.length > 0; count++) {
      if (count > maxSchemas) return false;
      const [schema, outer] = rest.pop()!;
      if (!isMembers(schema)) continue;
      const owner = this.#claim(schema, outer);
      if (owner === null) continue;
      addAnchors(schema, owner);
      for (const part of partsOf(schema)) if (part !== undefined) rest.push([part, owner]);
    }
    this.#reading = 'done';
    return true;
  }

  #claim(schema: Members, outer: Resource): Resource | null {
    if (typeof schema['$id'] !== 'string' || schema === this.scope.resource.root) return outer;
    const own = this.#resourceOf(schema, outer);
    if (own !== null) this.#add(own);
    return own;
  }

  /** Null for an `$id` that is no URI or has a fragment. */
  #resourceOf(root: Members, outer: Resource | null): Resource | null {
    const id = root['$id'] ?? '';
    if (typeof id !== 'string' || /#./.test(id)) return null;
    const uri = this.#absolute(id.replace('#', ''), outer?.uri ?? baseOfAll);
    return uri === null ? null : newResource(uri, root, outer);
  }

  #absolute(uri: string, base: string): string | null {
    const key = `${base} ${uri}`;
    let absolute = this.#resolved.get(key);
    if (absolute === undefined) {
      if (uri.length > maxReference || this.#resolved.size >= maxUris) return null;
      absolute = URL.parse(uri, base)?.href ?? null;
      this.#resolved.set(key, absolute);
    }
    return absolute;
  }

  #add(resource: Resource): void {
    this.#byRoot.set(resource.root, resource);
    this.#byUri.set(resource.uri, this.#byUri.has(resource.uri) ? null : resource);
  }
}

function newResource(uri: string, root: Members, outer: Resource | null): Resource {
  const { $schema } = root;
  const isJudged = $schema === undefined ? (outer?.isJudged ?? true) : $schema === dialect || $schema === `${dialect}#`;
  return { root, uri, isJudged, anchors: new Map() };
}

function within(resource: Resource, scope: Scope): Scope {
  return resource === scope.resource ? scope : { resource, outer: scope };
}

function addAnchors(schema: Members, { anchors }: Resource): void {
  for (const keyword of ['$anchor', '$dynamicAnchor']) {
    const name = schema[keyword];
    if (typeof name !== 'string') continue;
    const known = anchors.get(name);
    if (known === undefined) anchors.set(name, { schema, isDynamic: keyword === '$dynamicAnchor', isAmbiguous: false });
    else known.isAmbiguous = true;
  }
}

/** The schemas directly in a schema: an `$id` anywhere else, such as in a constant, identifies nothing. */
function* partsOf(schema: Members): Generator<Json | undefined> {
  for (const keyword of keywordsWithSchema) yield schema[keyword];
  for (const keyword of keywordsWithList) {
    const list = schema[keyword];
    if (isList(list)) yield* list;
  }
  for (const keyword of keywordsWithNames) {
    const named = schema[keyword];
    if (isMembers(named)) yield* Object.values(named);
  }
}

/** Decodes the fragment of a URI; null if it is malformed. */
function decoded(fragment: string): string | null {
  try {
    return decodeURIComponent(fragment);
  } catch {
    return null;
  }
}
