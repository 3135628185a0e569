/**
 * Why a TLS handshake failed: `authority`: nobody that is trusted has signed the server's certificate; `name`: it is for
 * another name; `expired`: it is not valid now; `client`: the server refuses the client's certificate; `protocol`: the
 * other side speaks no TLS, or another version.
 */
export type TlsFault = "authority" | "name" | "expired" | "client" | "protocol";

const faults: readonly (readonly [RegExp, TlsFault])[] = [
  [/^(?:ERR_TLS_CERT_ALTNAME_|HOSTNAME_MISMATCH)/, "name"],
  [/^CERT_(?:HAS_EXPIRED|NOT_YET_VALID)/, "expired"],
  [/^(?:SELF_SIGNED_CERT|DEPTH_ZERO_SELF_SIGNED|UNABLE_TO_|CERT_|INVALID_CA)/, "authority"],
  [/^ERR_SSL_.*ALERT_(?:UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_|HANDSHAKE_FAILURE)/, "client"],
  [/^ERR_SSL_.*(?:WRONG_VERSION|UNSUPPORTED_PROTOCOL|PROTOCOL_VERSION|PACKET_LENGTH)/, "protocol"],
];

/** What is wrong with a connection over TLS that failed, by the code of Node's error; undefined: it is something else. */
export const tlsFault = (code: string): TlsFault | undefined =>
  faults.find(([pattern]) => pattern.test(code))?.[1];
