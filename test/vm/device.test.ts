/** @kernel each */
import { deviceContract } from '../contract/device-contract';
import { bound, findDevice } from './lab-devices';

bound('edu', 'igb', 'nvme');

deviceContract('edu', () => ({ ...findDevice('edu'), bar: 'bar0', irq: 'msi' }));
deviceContract('igb', () => ({ ...findDevice('igb'), bar: 'bar0', irq: 'msix' }));
deviceContract('nvme', () => ({ ...findDevice('nvme'), bar: 'bar0', irq: 'msix' }));
