/** The table of the ABI: all that this package knows of linux/vfio.h and linux/iommufd.h, by C name. */
import * as capabilities from './capability-constants';
import * as constants from './constants';
import * as features from './feature-constants';
import * as gfx from './gfx-structs';
import * as hotReset from './hot-reset-structs';
import * as ioeventfd from './ioeventfd-structs';
import * as iommufdConstants from './iommufd-constants';
import * as iommufdStructs from './iommufd-structs';
import * as vendorStructs from './iommufd-vendor-structs';
import type { Struct } from './layout';
import * as lowPower from './low-power-structs';
import * as migration from './migration-structs';
import * as powerpc from './powerpc';
import { requests } from './requests';
import * as s390 from './s390';
import * as structs from './structs';

export interface Uapi {
  /** The request numbers of ioctl(2). */
  readonly ioctls: Readonly<Record<string, number>>;
  readonly structs: Readonly<Record<string, Struct>>;
  /** Of VFIO_DEVICE_FEATURE: what goes into the low 16 bits of its `flags`. */
  readonly features: Readonly<Record<string, number>>;
  /** Ids in the capability chains of the info requests. */
  readonly capabilities: Readonly<Record<string, number>>;
  /** Everything else that has a value. */
  readonly constants: Readonly<Record<string, number | string>>;
}

type Named = Readonly<Record<string, Struct | number | string>>;

const isStruct = (entry: [string, Named[string]]): entry is [string, Struct] =>
  typeof entry[1] === 'object';
const isConstant = (entry: [string, Named[string]]): entry is [string, number | string] =>
  typeof entry[1] !== 'object';

function gather(): Uapi {
  const all: [string, Named[string]][] = [
    constants,
    structs,
    migration,
    gfx,
    hotReset,
    lowPower,
    ioeventfd,
    iommufdConstants,
    iommufdStructs,
    vendorStructs,
    s390,
    powerpc,
  ].flatMap((topic: Named) => Object.entries(topic));

  return {
    ioctls: requests,
    structs: Object.fromEntries(all.filter(isStruct)),
    features: { ...features },
    capabilities: { ...capabilities },
    constants: Object.fromEntries(
      all.filter(isConstant).filter(([name]) => !(name in features) && !(name in capabilities)),
    ),
  };
}

let gathered: Uapi | undefined;

/** Gathered when it is asked for first: few programs do. */
export function uapi(): Uapi {
  gathered ??= gather();
  return gathered;
}
