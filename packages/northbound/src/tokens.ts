export { grantsIn, type Grant } from "./access/grants.ts";
export {
  createToken,
  readTokens,
  revokeToken,
  type NewToken,
  type StoredToken,
  type TokenFileContent,
} from "./access/tokens.ts";
