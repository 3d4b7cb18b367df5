/** DMA behind each IOMMU that the lab has; the VM has one of them. */
import { dmaContract } from '../contract/dma-contract';
import { dmaTransferContract } from '../contract/dma-transfer-contract';
import { times } from '../fixtures/scale';
import { dmaModes, type Mode } from '../vm/dma-modes';
import { bound } from '../vm/lab-devices';

bound('edu', 'igb', 'nvme');

const type1v2 = dmaModes[0] as Mode;
dmaTransferContract(type1v2);
// 65,535 mappings take AMD-Vi minutes on an emulated processor.
if (times(0, 1)) dmaContract(type1v2);
