/** What goes wrong on the driver's side of the device; the library's own errors are VfioError. */
export class DriverError extends Error {
  override readonly name = 'DriverError';

  /** @param hint what to do about it */
  constructor(
    message: string,
    readonly hint?: string,
  ) {
    super(message);
  }
}
