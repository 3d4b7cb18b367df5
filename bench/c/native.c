/*
 * native ROW COUNT: what a row outside the VM costs in C, each time that a line comes in: on ordinary
 * memory, and with an eventfd that nobody but the program signals.
 */
#include "ring.h"
#include "vfio.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

static double read32(long count)
{
	volatile uint32_t *word = pages(4096);
	double start = now();
	for (long i = 0; i < count; i++)
		(void)word[0];
	double each = (now() - start) / count * 1e9;
	munmap((void *)word, 4096);
	return each;
}

static double write32(long count)
{
	volatile uint32_t *word = pages(4096);
	double start = now();
	for (long i = 0; i < count; i++)
		word[0] = i;
	double each = (now() - start) / count * 1e9;
	munmap((void *)word, 4096);
	return each;
}

static double irq(long count)
{
	double *times = calloc(count, sizeof *times);
	int fd = eventfd(0, EFD_NONBLOCK), epoll = epoll_create1(0);
	struct epoll_event event = { .events = EPOLLIN };
	epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
	for (long i = 0; i < count; i++) {
		uint64_t one = 1, counter;
		double start = now();
		if (write(fd, &one, 8) != 8)
			die("write");
		if (epoll_wait(epoll, &event, 1, 5000) != 1 || read(fd, &counter, 8) != 8)
			die("eventfd");
		times[i] = (now() - start) * 1e6;
	}
	double middle = median(times, count) - clock_cost();
	free(times);
	close(epoll);
	close(fd);
	return middle;
}

static void *device(void *ring)
{
	ring_device(ring);
	return NULL;
}

/* Take what the device has received and give it back to be sent, a burst at a time; ns a packet. */
static double forward(long count)
{
	struct ring *ring = pages(sizeof *ring);
	pthread_t thread;
	pthread_create(&thread, NULL, device, ring);
	uint32_t head = 0, tail = 0;
	double start = now();
	for (long done = 0; done < count;) {
		int burst = 0;
		while (burst < BURST) {
			struct descriptor *d = &ring->descriptors[head % ENTRIES];
			if (!__atomic_load_n(&d->done, __ATOMIC_ACQUIRE))
				break;
			uint32_t length = d->length;
			d->address = head;
			d->length = length;
			__atomic_store_n(&d->done, 0, __ATOMIC_RELAXED);
			head++;
			burst++;
		}
		if (burst) {
			tail += burst;
			__atomic_store_n(&ring->tail, tail, __ATOMIC_RELEASE);
			done += burst;
		}
	}
	double elapsed = now() - start;
	__atomic_store_n(&ring->stop, 1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	munmap(ring, sizeof *ring);
	return elapsed / count * 1e9;
}

static const struct {
	const char *name;
	double (*measure)(long count);
} rows[] = {
	{ "native-read32", read32 },
	{ "native-write32", write32 },
	{ "native-irq-p50", irq },
	{ "native-ring-forward", forward },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc == 3 && i < sizeof rows / sizeof *rows; i++) {
		if (strcmp(argv[1], rows[i].name))
			continue;
		long count = atol(argv[2]);
		rows[i].measure(count);
		ready();
		while (asked())
			answer(rows[i].measure(count));
		return 0;
	}
	return 2;
}
