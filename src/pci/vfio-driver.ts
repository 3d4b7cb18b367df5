/** Which drivers give their devices to VFIO: vfio-pci, its variants (mlx5_vfio_pci), vfio-platform. */
export function isVfioDriver(driver: string | null | undefined): driver is string {
  return driver?.includes('vfio') ?? false;
}
