/*
 * edu ROW BDF COUNT: what a row of the lab costs with raw system calls, on QEMU's edu device, each time
 * that a line comes in.
 */
#include "vfio.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#define IOVA 0x100000ull

/* In ns, as the next two. */
static double config_read(struct vfio v, long count)
{
	uint64_t at = vfio_region(v, VFIO_PCI_CONFIG_REGION_INDEX).offset;
	uint32_t value;
	double start = now();
	for (long i = 0; i < count; i++)
		if (pread(v.device, &value, 4, at) != 4)
			die("pread");
	return (now() - start) / count * 1e9;
}

static double bar_read(struct vfio v, long count)
{
	volatile uint32_t *bar = vfio_bar0(v);
	double start = now();
	for (long i = 0; i < count; i++)
		(void)bar[0];
	return (now() - start) / count * 1e9;
}

static double bar_write(struct vfio v, long count)
{
	volatile uint32_t *bar = vfio_bar0(v);
	double start = now();
	for (long i = 0; i < count; i++)
		bar[1] = i;
	return (now() - start) / count * 1e9;
}

/* In us, as the rest. */
static double map_unmap(struct vfio v, long count)
{
	void *memory = pages(4096);
	double start = now();
	for (long i = 0; i < count; i++) {
		vfio_map(v, memory, IOVA, 4096);
		vfio_unmap(v, IOVA, 4096);
	}
	double each = (now() - start) / count * 1e6;
	munmap(memory, 4096);
	return each;
}

static void set_msi(struct vfio v, int fd)
{
	char bytes[sizeof(struct vfio_irq_set) + sizeof fd];
	struct vfio_irq_set *set = (void *)bytes;
	*set = (struct vfio_irq_set){
		.argsz = sizeof bytes,
		.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
		.index = VFIO_PCI_MSI_IRQ_INDEX,
		.count = 1,
	};
	memcpy(set->data, &fd, sizeof fd);
	if (ioctl(v.device, VFIO_DEVICE_SET_IRQS, set))
		die("VFIO_DEVICE_SET_IRQS");
}

static double irq(struct vfio v, long count)
{
	volatile uint32_t *bar = vfio_bar0(v);
	double *times = calloc(count, sizeof *times);
	int fd = eventfd(0, EFD_NONBLOCK), epoll = epoll_create1(0);
	struct epoll_event event = { .events = EPOLLIN };
	epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
	vfio_bus_master(v);
	set_msi(v, fd);
	for (long i = 0; i < count; i++) {
		uint64_t counter;
		double start = now();
		bar[0x60 / 4] = 1; /* raise */
		if (epoll_wait(epoll, &event, 1, 5000) != 1 || read(fd, &counter, 8) != 8)
			die("interrupt");
		times[i] = (now() - start) * 1e6;
		bar[0x64 / 4] = 1; /* acknowledge */
	}
	double middle = median(times, count) - clock_cost();
	free(times);
	close(epoll);
	close(fd);
	return middle;
}

static double open_close(const char *bdf, long count)
{
	double start = now();
	for (long i = 0; i < count; i++)
		vfio_close(vfio_open(bdf));
	return (now() - start) / count * 1e6;
}

static const struct {
	const char *name;
	double (*measure)(struct vfio v, long count);
} rows[] = {
	{ "config-read32", config_read }, { "bar-read32", bar_read },	  { "bar-write32", bar_write },
	{ "map-unmap-4k", map_unmap },	  { "irq-async-p50", irq },
};

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	long count = atol(argv[3]);
	if (!strcmp(argv[1], "open-close")) {
		ready();
		while (asked())
			answer(open_close(argv[2], count));
		return 0;
	}
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if (strcmp(argv[1], rows[i].name))
			continue;
		struct vfio v = vfio_open(argv[2]);
		rows[i].measure(v, count);
		ready();
		while (asked())
			answer(rows[i].measure(v, count));
		vfio_close(v);
		return 0;
	}
	return 2;
}
