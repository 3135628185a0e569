import type { StandingRuns } from "@wheelwork/engine/parts";

/** What `dev` asks of a process that hosts a module. */
export type Ask =
  | { readonly do: "load"; readonly module: string; readonly store: string }
  | { readonly do: "standing" }
  | { readonly do: "fits"; readonly standing: readonly StandingRuns[] }
  | { readonly do: "start" }
  | { readonly do: "release" };

/** A question with the number of its reply. */
export interface Asked {
  readonly number: number;
  readonly ask: Ask;
}

/** What the host answers. */
export type Told =
  { readonly number: number; readonly value: unknown } | { readonly number: number; readonly failed: string };

/** What a started host serves. */
export interface Serving {
  readonly port: number;
  readonly hubs: readonly { readonly name: string; readonly path: string }[];
}
