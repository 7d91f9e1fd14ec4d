/** What a drive has moved for its guest since the machine was built. Of what failed, nothing is counted. */
export interface DriveTraffic {
  readonly readBytes: number;
  readonly readOperations: number;
  readonly writtenBytes: number;
  readonly writeOperations: number;
}

/**
 * Counts it. A device calls it once for each request, or piece of one, that has
 * come to its end: never for each word that passes a port.
 */
export class TrafficCounter implements DriveTraffic {
  readBytes = 0;
  readOperations = 0;
  writtenBytes = 0;
  writeOperations = 0;

  /** @param whole this completes what the guest asked for in one request */
  read(bytes: number, whole: boolean): void {
    this.readBytes += bytes;
    if (whole) this.readOperations += 1;
  }

  wrote(bytes: number, whole: boolean): void {
    this.writtenBytes += bytes;
    if (whole) this.writeOperations += 1;
  }
}

/** What both have moved, as one. */
export function addTraffic(one: DriveTraffic, other: DriveTraffic): DriveTraffic {
  return {
    readBytes: one.readBytes + other.readBytes,
    readOperations: one.readOperations + other.readOperations,
    writtenBytes: one.writtenBytes + other.writtenBytes,
    writeOperations: one.writeOperations + other.writeOperations,
  };
}
