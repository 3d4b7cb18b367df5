/*
 * Baseline of the rows on edu:  device GROUP BDF ROW   prints ns per operation
 */
#include "vfio.h"

enum { ROUNDS = 2000 };

static void mapUnmap(const struct device* d, void* page) {
  mapDma(d, page, 1 << 20, 4096);
  struct vfio_iommu_type1_dma_unmap unmap = {.argsz = sizeof unmap, .iova = 1 << 20, .size = 4096};
  CHECK(ioctl(d->container, VFIO_IOMMU_UNMAP_DMA, &unmap) == 0);
}

int main(int argc, char** argv) {
  CHECK(argc == 4);
  const char* row = argv[3];
  if (strcmp(row, "open-close") == 0) {
    const double start = now();
    for (int i = 0; i < 5; i++) {
      struct device d = openDevice(argv[1], argv[2]);
      closeDevice(&d);
    }
    printf("%.1f\n", (now() - start) / 5 * 1e9);
    return 0;
  }
  const struct device d = openDevice(argv[1], argv[2]);
  uint8_t* page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(page != MAP_FAILED);
  page[0] = 1;
  uint32_t value = 0;
  const double start = now();
  for (uint32_t i = 0; i < ROUNDS; i++) {
    if (strcmp(row, "config-read32") == 0)
      CHECK(pread(d.fd, &value, 4, d.config) == 4);
    else if (strcmp(row, "bar-read32") == 0)
      value = *(volatile uint32_t*)d.bar;
    else if (strcmp(row, "bar-write32") == 0)
      *(volatile uint32_t*)(d.bar + 4) = i;
    else if (strcmp(row, "map-unmap-4k") == 0)
      mapUnmap(&d, page);
    else
      return 2;
  }
  printf("%.1f\n", (now() - start) / ROUNDS * 1e9);
  return 0;
}
