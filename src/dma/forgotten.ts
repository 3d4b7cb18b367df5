/** What is garbage-collected without close(): released where nothing can use it any more, else reported. */
import { native } from '../native';
import type { DmaBackend } from './backend';
import type { LiveMapping, LiveMappings } from './live-mappings';

interface Forgotten {
  readonly live: LiveMapping;
  readonly mappings: LiveMappings;
}

const handles = new FinalizationRegistry<Forgotten>(({ live, mappings }) => {
  if (live.closing) return;
  if (live.state === 'gone') {
    const { range } = live.backing;
    if (range !== undefined) native.rangeRelease(range);
    return;
  }
  // Not unmapped: a device may have been given its address.
  if (mappings.reported) return;
  mappings.reported = true;
  warn(
    `a DMA mapping of ${live.size} bytes at IOVA 0x${live.iova.toString(16)} was garbage-collected ` +
      'without close(): devices reach its memory until its address space is closed (reported once ' +
      'for each space)',
  );
});

/** Report if `handle`, the last way to the memory of `live`, is collected while it is open. */
export function forgotten(handle: object, live: LiveMapping, mappings: LiveMappings): void {
  handles.register(handle, { live, mappings });
}

const spaces = new FinalizationRegistry<DmaBackend>((backend) => {
  let left = '';
  try {
    backend.close();
  } catch (error) {
    left = `: ${error}`;
  }
  warn(`an address space of ${backend.name} was garbage-collected without close()${left}`);
});

/** Close `backend` once `space`, through which alone it is reached, is collected. */
export function closeIfForgotten(space: object, backend: DmaBackend): void {
  spaces.register(space, backend, space);
}

/** `space` closes its backend itself. */
export function remembered(space: object): void {
  spaces.unregister(space);
}

function warn(message: string): void {
  process.emitWarning(message, { type: 'VfioWarning', code: 'VFIO_NOT_CLOSED' });
}
