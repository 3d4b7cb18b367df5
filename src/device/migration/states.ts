/** The states of a device in migration, and which can follow which (linux/vfio.h, enum vfio_device_mig_state). */
import { VfioError } from '../../errors';
import * as abi from '../../ioctl/abi/migration-constants';

const numbers = {
  error: abi.VFIO_DEVICE_STATE_ERROR,
  stop: abi.VFIO_DEVICE_STATE_STOP,
  running: abi.VFIO_DEVICE_STATE_RUNNING,
  'stop-copy': abi.VFIO_DEVICE_STATE_STOP_COPY,
  resuming: abi.VFIO_DEVICE_STATE_RESUMING,
  'running-p2p': abi.VFIO_DEVICE_STATE_RUNNING_P2P,
  'pre-copy': abi.VFIO_DEVICE_STATE_PRE_COPY,
  'pre-copy-p2p': abi.VFIO_DEVICE_STATE_PRE_COPY_P2P,
} as const;

export type MigrationState = keyof typeof numbers;

/** What a device's migration has beyond the states that all have. */
export interface MigrationCapabilities {
  /** The -p2p states, in which a device starts no DMA to other devices. */
  readonly p2p: boolean;
  /** The pre-copy states, in which a device gives data while it runs. */
  readonly preCopy: boolean;
}

export function stateNumber(state: MigrationState): number {
  return numbers[state];
}

/** @throws ERR_VFIO_MALFORMED */
export function stateName(number: number): MigrationState {
  const found = Object.entries(numbers).find(([, value]) => value === number);
  if (found) return found[0] as MigrationState;
  throw new VfioError('ERR_VFIO_MALFORMED', `no state of migration: ${number}`);
}

/** The states that a device can be put into from `from`; the kernel goes by way of those between. */
export function nextStates(
  from: MigrationState,
  { p2p, preCopy }: MigrationCapabilities,
): MigrationState[] {
  // Nothing but a reset leads out of it.
  if (from === 'error') return [];
  return (Object.keys(numbers) as MigrationState[]).filter((to) => {
    if (to === 'error' || to === from) return false;
    if (to.endsWith('p2p') && !p2p) return false;
    if (!to.startsWith('pre-copy')) return true;
    // Linux 6.12 spins for ever on the way from stop-copy to pre-copy, instead of refusing it.
    return preCopy && from !== 'stop-copy';
  });
}

/** @throws ERR_VFIO_MIGRATION_STATE */
export function assertArc(
  device: string,
  from: MigrationState,
  to: MigrationState,
  capabilities: MigrationCapabilities,
): void {
  const legal = nextStates(from, capabilities);
  if (legal.includes(to) || (to === from && from !== 'error')) return;
  throw new VfioError('ERR_VFIO_MIGRATION_STATE', `${device} cannot go from ${from} to ${to}`, {
    device,
    hint:
      legal.length === 0
        ? 'reset() the device: nothing else leads out of the state error'
        : `from ${from}, it can go to ${legal.join(', ')}`,
  });
}
