import type { Permission } from "./grants.ts";

/**
 * What each route of Northbound needs. A route that is not here, and says nothing in its `config.permission`, does not start.
 * - `nothing`: it is for everybody. `known`: for everybody who has shown who they are.
 * - `read`, `operate`, `admin`: the roles. What `read` shows has no payloads, unless the caller may see them.
 * - `look`: `read`, or submitter of the request's hub. `answer`: `read` and `payloads`, or submitter of the request's hub.
 * - `command`: `operate`, or operator of the request's hub. `commandAll`: `operate`, or operator of each hub that the query `hub` names, or
 *   of each that the filter of the bulk names.
 * - `{ submitTo }`: submitter of that hub. A route of a hub says so itself.
 */
export const permissions: Readonly<Record<string, Permission>> = {
  "GET /health": "nothing",
  "GET /ready": "nothing",
  "GET /openapi.json": "known",
  "GET /metrics": "read",
  "GET /audit": "admin",
  "GET /audit/refusals": "admin",
  "GET /requests": "read",
  "GET /counts": "read",
  "GET /incidents": "read",
  "GET /events": "read",
  "GET /requests/:id": "look",
  "GET /requests/:id/answer": "answer",
  "GET /requests/:id/updates": "look",
  "GET /requests/:id/history": "read",
  "GET /requests/:id/history/:event": "read",
  "GET /requests/:id/diagram.svg": "read",
  "GET /requests/:id/diagram.txt": "read",
  "POST /requests/:id/cancel": "command",
  "POST /requests/:id/signals/:name": "command",
  "POST /requests/:id/retry": "command",
  "POST /requests/:id/resolve": "command",
  "POST /requests/:id/what-if": "command",
  "GET /bulks": "read",
  "GET /bulks/:id": "read",
  "GET /bulks/:id/items": "read",
  "POST /bulks/cancel": "commandAll",
  "POST /bulks/retry": "commandAll",
  "POST /bulks/resolve": "commandAll",
  "POST /bulks/signals/:name": "commandAll",
  "POST /bulks/:id/pause": "commandAll",
  "POST /bulks/:id/resume": "commandAll",
  "POST /bulks/:id/cancel": "commandAll",
  "GET /hubs": "read",
  "GET /hubs/:name": "read",
  "GET /hubs/:name/diagram.txt": "read",
  "GET /lanes": "read",
  "GET /shards": "read",
  "GET /dead-letters": "read",
  "POST /dead-letters/:place/replay": "operate",
  "GET /schedules": "read",
  "GET /schedules/:name": "read",
  "POST /schedules/:name/pause": "operate",
  "POST /schedules/:name/resume": "operate",
  "POST /schedules/:name/remove": "operate",
  "POST /schedules/:name/trigger": "operate",
  "POST /schedules/:name/backfill": "operate",
};
