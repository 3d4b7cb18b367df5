import { dmaContract } from '../contract/dma-contract';
import { dmaTransferContract } from '../contract/dma-transfer-contract';
import { dmaModes, hasIommufd } from './dma-modes';
import { bound } from './lab-devices';

bound('edu', 'igb', 'nvme');

if (!hasIommufd) console.info('no /dev/iommu in this kernel: DMA is tried in containers only');

for (const mode of dmaModes) {
  dmaContract(mode);
  dmaTransferContract(mode);
}
