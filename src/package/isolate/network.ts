/** True if this Node can keep a process from the network; Node 24 cannot. */
export function canCloseNetwork(): boolean {
  return process.allowedNodeEnvironmentFlags.has('--allow-net');
}

/** The warning for packages that ask for no network, on a Node that cannot close it. */
export const openNetworkText: string =
  `this Node (${process.versions.node}) cannot close the network: packages reach it without asking for it; ` +
  'from Node 26 on it is closed';
