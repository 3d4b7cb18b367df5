/* What the C baselines share: opening a device by group and container, and the clock. */
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

struct vfio {
	int container, group, device;
};

static inline void die(const char *what)
{
	perror(what);
	exit(1);
}

static inline double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static inline struct vfio vfio_open(const char *bdf)
{
	char path[96], link[256];
	snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/iommu_group", bdf);
	ssize_t n = readlink(path, link, sizeof link - 1);
	if (n < 0)
		die(path);
	link[n] = 0;
	snprintf(path, sizeof path, "/dev/vfio/%s", strrchr(link, '/') + 1);
	struct vfio v = { .container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC) };
	v.group = open(path, O_RDWR | O_CLOEXEC);
	if (v.container < 0 || v.group < 0)
		die(path);
	if (ioctl(v.group, VFIO_GROUP_SET_CONTAINER, &v.container) ||
	    ioctl(v.container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		die("container");
	v.device = ioctl(v.group, VFIO_GROUP_GET_DEVICE_FD, bdf);
	if (v.device < 0)
		die("VFIO_GROUP_GET_DEVICE_FD");
	return v;
}

static inline void vfio_close(struct vfio v)
{
	close(v.device);
	ioctl(v.group, VFIO_GROUP_UNSET_CONTAINER);
	close(v.group);
	close(v.container);
}

static inline struct vfio_region_info vfio_region(struct vfio v, unsigned index)
{
	struct vfio_region_info info = { .argsz = sizeof info, .index = index };
	if (ioctl(v.device, VFIO_DEVICE_GET_REGION_INFO, &info))
		die("VFIO_DEVICE_GET_REGION_INFO");
	return info;
}

static inline volatile uint32_t *vfio_bar0(struct vfio v)
{
	struct vfio_region_info info = vfio_region(v, 0);
	void *bar = mmap(NULL, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, v.device, info.offset);
	if (bar == MAP_FAILED)
		die("mmap of BAR 0");
	return bar;
}

static inline void vfio_bus_master(struct vfio v)
{
	struct vfio_region_info config = vfio_region(v, VFIO_PCI_CONFIG_REGION_INDEX);
	uint16_t command;
	if (pread(v.device, &command, 2, config.offset + 4) != 2)
		die("PCI_COMMAND");
	command |= 4;
	if (pwrite(v.device, &command, 2, config.offset + 4) != 2)
		die("PCI_COMMAND");
}

static inline void vfio_map(struct vfio v, void *memory, uint64_t iova, uint64_t size)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof map,
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)memory,
		.iova = iova,
		.size = size,
	};
	if (ioctl(v.container, VFIO_IOMMU_MAP_DMA, &map))
		die("VFIO_IOMMU_MAP_DMA");
}

static inline void vfio_unmap(struct vfio v, uint64_t iova, uint64_t size)
{
	struct vfio_iommu_type1_dma_unmap unmap = { .argsz = sizeof unmap, .iova = iova, .size = size };
	if (ioctl(v.container, VFIO_IOMMU_UNMAP_DMA, &unmap))
		die("VFIO_IOMMU_UNMAP_DMA");
}

static inline void *pages(uint64_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		die("mmap");
	return memory;
}

static inline int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static inline double median(double *values, int count)
{
	qsort(values, count, sizeof *values, by_value);
	return values[count / 2];
}

/* us from one reading of the clock to the next: it is in a time of one thing at a time. As ../clock.ts. */
static inline double clock_cost(void)
{
	double between[1000];
	for (int i = 0; i < 1000; i++) {
		double start = now();
		between[i] = (now() - start) * 1e6;
	}
	return median(between, 1000);
}

/* Set up, and warm: now measure once for each line that comes in. The same as ../answer.ts. */
static inline void ready(void)
{
	puts("ready");
	fflush(stdout);
}

static inline int asked(void)
{
	char line[16];
	return fgets(line, sizeof line, stdin) != NULL;
}

static inline void answer(double value)
{
	printf("%.4f\n", value);
	fflush(stdout);
}
