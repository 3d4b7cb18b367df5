/** @kernel each */
import { dmaContract } from '../contract/dma-contract';
import { dmaTransferContract } from '../contract/dma-transfer-contract';
import { dmaModes } from './dma-modes';
import { bound } from './lab-devices';

bound('edu', 'igb', 'nvme');

for (const mode of dmaModes) {
  dmaContract(mode);
  dmaTransferContract(mode);
}
