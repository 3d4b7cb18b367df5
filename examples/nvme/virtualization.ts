/** Virtualization enhancements (base specification, 8.26): queues and vectors for virtual functions. */
import type { Controller } from './controller';
import { Admin } from './registers';
import { ControllerError } from './status';

/** CNS of the secondary controller list (5.17.2.15). */
const CNS_SECONDARY_CONTROLLERS = 0x15;
const LIST_HEADER = 32;
const LIST_ENTRY = 32;

/** Actions and resource types of Virtualization Management (5.28). */
const PRIMARY_ALLOCATION = 0x1;
const SECONDARY_ASSIGN = 0x8;
const SECONDARY_ONLINE = 0x9;
const QUEUES = 0;
const VECTORS = 1;

export interface SecondaryController {
  readonly id: number;
  readonly online: boolean;
  /** Number of the VF from 1 on; 0 if there is none. */
  readonly vf: number;
}

/** What a VF gets; the admin queue counts as one. */
export interface VfResources {
  readonly queues: number;
  readonly vectors: number;
}

export function decodeSecondaryControllers(data: Uint8Array): SecondaryController[] {
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  const count = Math.min(data[0]!, Math.floor((data.length - LIST_HEADER) / LIST_ENTRY));
  return Array.from({ length: count }, (_, i) => {
    const at = LIST_HEADER + i * LIST_ENTRY;
    return {
      id: view.getUint16(at, true),
      online: (view.getUint8(at + 4) & 1) !== 0,
      vf: view.getUint16(at + 8, true),
    };
  });
}

/** Have the PF give up all flexible resources, for its VFs; the controller is reset. */
export async function releaseResources(pf: Controller): Promise<void> {
  const { controllerId } = await pf.identify();
  await manage(pf, PRIMARY_ALLOCATION, controllerId, QUEUES, 0);
  await manage(pf, PRIMARY_ALLOCATION, controllerId, VECTORS, 0);
  await pf.reset();
}

/** Give the n-th VF, from 0 on, its resources and bring it online. @throws NvmeError, ControllerError */
export async function bringOnline(
  pf: Controller,
  vf: number,
  { queues, vectors }: VfResources,
): Promise<void> {
  const name = 'Identify: secondary controllers';
  const list = await pf.identifyData(name, CNS_SECONDARY_CONTROLLERS, 0);
  const secondary = decodeSecondaryControllers(list).find((each) => each.vf === vf + 1);
  if (!secondary) throw new ControllerError(`no controller of VF ${vf}`, 'create the VFs first');
  await manage(pf, SECONDARY_ASSIGN, secondary.id, QUEUES, queues);
  await manage(pf, SECONDARY_ASSIGN, secondary.id, VECTORS, vectors);
  await manage(pf, SECONDARY_ONLINE, secondary.id, QUEUES, 0);
}

async function manage(
  pf: Controller,
  action: number,
  controllerId: number,
  resource: number,
  count: number,
): Promise<void> {
  await pf.run({
    name: `Virtualization Management: action ${action} on controller ${controllerId}`,
    opcode: Admin.VIRTUALIZATION_MANAGEMENT,
    words: [((controllerId << 16) | (resource << 8) | action) >>> 0, count],
  });
}
