let count = 0;

/** Tells the engines of this process that a server has accepted a connection. */
export function connectionAccepted(): void {
  count++;
}

/** How many connections servers of this process have accepted. */
export const acceptedConnections = (): number => count;
