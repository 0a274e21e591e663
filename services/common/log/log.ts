/** What a log line may carry; buffers and objects do not fit, so that key material cannot slip in. `level`, `time`, `service` and `msg` are every line's own. */
export type LogFields = Record<string, string | number | boolean | undefined>;

/** The reference's levels. Errors go in by `cause`: their messages and stacks are printed, never their fields. */
export interface Log {
  debug(message: string, fields?: LogFields, cause?: unknown): void;
  info(message: string, fields?: LogFields, cause?: unknown): void;
  warning(message: string, fields?: LogFields, cause?: unknown): void;
  error(message: string, fields?: LogFields, cause?: unknown): void;
}
