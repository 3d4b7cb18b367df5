/* A device in software: it "receives" into every descriptor that the driver has given back. */
#pragma once

#include <stdint.h>

#define ENTRIES 512
#define BURST 32

struct descriptor {
	uint32_t address, reserved, length, done;
};

struct ring {
	uint32_t tail; /* doorbell: descriptors given back since the start */
	uint32_t stop;
	uint32_t reserved[1022]; /* descriptors begin on the next page */
	struct descriptor descriptors[ENTRIES];
};

/* All descriptors are the device's at first. Returns once `stop` is set. */
static inline void ring_device(struct ring *ring)
{
	uint32_t next = 0;
	while (!__atomic_load_n(&ring->stop, __ATOMIC_RELAXED)) {
		uint32_t end = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE) + ENTRIES;
		for (; next != end; next++) {
			struct descriptor *d = &ring->descriptors[next % ENTRIES];
			d->length = 64;
			__atomic_store_n(&d->done, 1, __ATOMIC_RELEASE);
		}
	}
}
