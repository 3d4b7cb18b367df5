/* What the baselines share: a device opened by raw ioctls on the group interface, and a clock. */
#pragma once

#include <fcntl.h>
#include <linux/vfio.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition)                                                                           \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      perror(#condition);                                                                          \
      exit(1);                                                                                     \
    }                                                                                              \
  } while (0)

struct device {
  int container, group, fd;
  off_t config;
  volatile uint8_t* bar;
  size_t size;
};

/* BAR 0 mapped, bus master on. `group` is the number of the IOMMU group. */
static inline struct device openDevice(const char* group, const char* bdf) {
  struct device d;
  char path[64];
  snprintf(path, sizeof path, "/dev/vfio/%s", group);
  d.container = open("/dev/vfio/vfio", O_RDWR);
  d.group = open(path, O_RDWR);
  CHECK(d.container >= 0 && d.group >= 0);
  CHECK(ioctl(d.group, VFIO_GROUP_SET_CONTAINER, &d.container) == 0);
  CHECK(ioctl(d.container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) == 0);
  d.fd = ioctl(d.group, VFIO_GROUP_GET_DEVICE_FD, bdf);
  CHECK(d.fd >= 0);
  struct vfio_region_info config = {.argsz = sizeof config, .index = VFIO_PCI_CONFIG_REGION_INDEX};
  struct vfio_region_info bar = {.argsz = sizeof bar, .index = VFIO_PCI_BAR0_REGION_INDEX};
  CHECK(ioctl(d.fd, VFIO_DEVICE_GET_REGION_INFO, &config) == 0);
  CHECK(ioctl(d.fd, VFIO_DEVICE_GET_REGION_INFO, &bar) == 0);
  d.config = (off_t)config.offset;
  d.size = bar.size;
  void* mapped = mmap(NULL, d.size, PROT_READ | PROT_WRITE, MAP_SHARED, d.fd, (off_t)bar.offset);
  CHECK(mapped != MAP_FAILED);
  d.bar = mapped;
  uint16_t command;
  CHECK(pread(d.fd, &command, 2, d.config + 4) == 2);
  command |= 4;
  CHECK(pwrite(d.fd, &command, 2, d.config + 4) == 2);
  return d;
}

static inline void closeDevice(struct device* d) {
  munmap((void*)d->bar, d->size);
  close(d->fd);
  close(d->group);
  close(d->container);
}

static inline void mapDma(const struct device* d, void* memory, uint64_t iova, size_t size) {
  struct vfio_iommu_type1_dma_map map = {.argsz = sizeof map,
                                         .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
                                         .vaddr = (uintptr_t)memory,
                                         .iova = iova,
                                         .size = size};
  CHECK(ioctl(d->container, VFIO_IOMMU_MAP_DMA, &map) == 0);
}

/* Seconds. */
static inline double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
