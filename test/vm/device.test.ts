import { deviceContract } from '../contract/device-contract';
import { hasIommufd } from './dma-modes';
import { bound, findDevice } from './lab-devices';

bound('edu', 'igb', 'nvme');

deviceContract('edu', () => ({ ...findDevice('edu'), bar: 'bar0', irq: 'msi' }));
deviceContract('igb', () => ({ ...findDevice('igb'), bar: 'bar0', irq: 'msix' }));
// By default, iommufd where there is one; by group, edu answers for all.
if (hasIommufd) {
  const options = { backend: 'group' } as const;
  deviceContract('edu by its group', () => ({
    ...findDevice('edu'),
    bar: 'bar0',
    irq: 'msi',
    options,
  }));
}
deviceContract('nvme', () => ({ ...findDevice('nvme'), bar: 'bar0', irq: 'msix' }));
