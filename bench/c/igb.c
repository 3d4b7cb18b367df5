/*
 * igb tx BDF COUNT, igb forward BDF BDF COUNT: frames of 64 bytes in bursts of 32 by polling, in frames
 * a second, each time that a line comes in. The two ports are wired to each other, so that what is
 * forwarded comes back to be forwarded again. Rings, batching of doorbells and of status reports are those
 * of examples/igb; the pool is a stack, as DPDK's caches are.
 */
#include "vfio.h"

#define RING 1024
#define BURST 32
#define BUFFERS 4608
#define BUFFER_BYTES 2048
#define FRAME_BYTES 60 /* and four of FCS */
#define IN_FLIGHT (2 * BURST)
#define IOVA 0x10000000ull

/* Datasheet section 8, as word numbers. */
enum {
	CTRL = 0x0000 / 4,
	STATUS = 0x0008 / 4,
	MDIC = 0x0020 / 4,
	RCTL = 0x0100 / 4,
	TCTL = 0x0400 / 4,
	IMC = 0x00d8 / 4,
	EIMC = 0x1528 / 4,
	RX = 0xc000 / 4,
	TX = 0xe000 / 4,
	BASE_LOW = 0,
	BASE_HIGH = 1,
	LENGTH = 2,
	SRRCTL = 3,
	HEAD = 4,
	TAIL = 6,
	CONTROL = 10,
};

#define DONE 1u
#define END_OF_PACKET 2u
#define ERROR (1u << 31)
#define DATA (3u << 20 | 1u << 29 | 1u << 24 | 1u << 25)
#define REPORT (1u << 27)

struct descriptor {
	volatile uint32_t words[4];
};

/* What DMA reaches, in one mapping. */
static struct memory {
	struct descriptor rx[2][RING], tx[2][RING];
	uint8_t buffers[BUFFERS][BUFFER_BYTES];
} *memory;

/* The pool: the last in is the first out. */
static uint32_t pool[BUFFERS], available;
static uint16_t lengths[BUFFERS];

struct port {
	struct vfio v;
	volatile uint32_t *bar;
	struct descriptor *rx, *tx;
	uint32_t rx_held[RING], rx_next, rx_tail;
	uint32_t tx_sent[RING], tx_next, tx_oldest, tx_next_sent, tx_oldest_sent;
	uint16_t tx_last[RING], tx_frames[RING];
};

static uint64_t iova(volatile void *at)
{
	return IOVA + ((uint8_t *)at - (uint8_t *)memory);
}

static void refill(struct port *p)
{
	uint32_t count = (p->rx_next - p->rx_tail - 1) % RING;
	if (count > available)
		count = available;
	if (count == 0)
		return;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t id = pool[--available], at = p->rx_tail;
		uint64_t address = iova(memory->buffers[id]);
		p->rx[at].words[0] = address;
		p->rx[at].words[1] = address >> 32;
		p->rx[at].words[2] = 0;
		p->rx[at].words[3] = 0;
		p->rx_held[at] = id;
		p->rx_tail = (at + 1) % RING;
	}
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	p->bar[RX + TAIL] = p->rx_tail;
}

static uint32_t rx_burst(struct port *p, uint32_t *ids, uint32_t max)
{
	uint32_t count = 0;
	while (count < max && p->rx_next != p->rx_tail) {
		struct descriptor *d = &p->rx[p->rx_next];
		uint32_t status = d->words[2];
		if (!(status & DONE))
			break;
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		uint32_t id = p->rx_held[p->rx_next];
		p->rx_next = (p->rx_next + 1) % RING;
		if ((status & (END_OF_PACKET | ERROR)) != END_OF_PACKET) {
			pool[available++] = id;
			continue;
		}
		lengths[id] = d->words[3];
		ids[count++] = id;
	}
	if (p->rx_next != (p->rx_tail + 1) % RING)
		refill(p);
	return count;
}

static void reclaim(struct port *p)
{
	while (p->tx_oldest != p->tx_next) {
		uint32_t last = p->tx_last[p->tx_oldest];
		if (!(p->tx[last].words[3] & DONE))
			return;
		for (uint32_t i = 0; i < p->tx_frames[p->tx_oldest]; i++) {
			pool[available++] = p->tx_sent[p->tx_oldest_sent];
			p->tx_oldest_sent = (p->tx_oldest_sent + 1) % RING;
		}
		p->tx_oldest = (last + 1) % RING;
	}
}

static uint32_t tx_burst(struct port *p, const uint32_t *ids, uint32_t count)
{
	reclaim(p);
	uint32_t first = p->tx_next, end = (p->tx_oldest - 1) % RING, frames = 0;
	struct descriptor *d = NULL;
	while (frames < count && p->tx_next != end) {
		uint32_t id = ids[frames++], length = lengths[id];
		uint64_t address = iova(memory->buffers[id]);
		d = &p->tx[p->tx_next];
		d->words[0] = address;
		d->words[1] = address >> 32;
		d->words[2] = DATA | length;
		d->words[3] = length << 14;
		p->tx_sent[p->tx_next_sent] = id;
		p->tx_next_sent = (p->tx_next_sent + 1) % RING;
		p->tx_next = (p->tx_next + 1) % RING;
	}
	if (frames == 0)
		return 0;
	d->words[2] |= REPORT;
	p->tx_last[first] = (p->tx_next - 1) % RING;
	p->tx_frames[first] = frames;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	p->bar[TX + TAIL] = p->tx_next;
	return frames;
}

static void set_ring(struct port *p, unsigned queue, struct descriptor *ring)
{
	p->bar[queue + BASE_LOW] = iova(ring);
	p->bar[queue + BASE_HIGH] = iova(ring) >> 32;
	p->bar[queue + LENGTH] = RING * sizeof *ring;
	p->bar[queue + HEAD] = 0;
	p->bar[queue + TAIL] = 0;
	p->bar[queue + CONTROL] |= 1 << 25;
	while (!(p->bar[queue + CONTROL] & 1 << 25))
		;
}

static void reset(struct port *p)
{
	p->bar[EIMC] = p->bar[IMC] = ~0u;
	p->bar[CTRL] |= 1 << 26;
	usleep(10000);
	p->bar[EIMC] = p->bar[IMC] = ~0u;
}

static void open_port(struct port *p, const char *bdf, unsigned n)
{
	p->v = vfio_open(bdf);
	p->bar = vfio_bar0(p->v);
	p->rx = memory->rx[n];
	p->tx = memory->tx[n];
	vfio_map(p->v, memory, IOVA, sizeof *memory);
	reset(p);
	vfio_bus_master(p->v);
	p->bar[TCTL] |= 1 << 1 | 1 << 3;
	p->bar[RX + SRRCTL] = 1u << 31 | 1 << 25 | BUFFER_BYTES >> 10;
	set_ring(p, RX, p->rx);
	set_ring(p, TX, p->tx);
	refill(p);
	p->bar[RCTL] = 1 << 1 | 1 << 15 | 1 << 26 | 1 << 3 | 1 << 4; /* promiscuous */
	p->bar[CTRL] |= 1 << 6;
	p->bar[MDIC] = 1 << 26 | 1 << 21 | 0x1340; /* autonegotiate */
}

static void close_port(struct port *p)
{
	p->bar[RCTL] = 0;
	p->bar[TCTL] = 0;
	reset(p);
	vfio_close(p->v);
}

static void until_link(struct port *p)
{
	while (!(p->bar[STATUS] & 2))
		usleep(1000);
}

static void make_frames(void)
{
	for (uint32_t id = 0; id < BUFFERS; id++) {
		memset(memory->buffers[id], 0xff, 6);
		memset(memory->buffers[id] + 6, 0x02, 6);
		memset(memory->buffers[id] + 12, 0x88, 2);
		lengths[id] = FRAME_BYTES;
		pool[available++] = BUFFERS - 1 - id;
	}
}

static void transmit(struct port *p, long count)
{
	uint32_t ids[BURST];
	for (long sent = 0; sent < count;) {
		uint32_t made = 0, done;
		while (made < BURST && available > 0)
			ids[made++] = pool[--available];
		done = tx_burst(p, ids, made);
		for (uint32_t i = done; i < made; i++)
			pool[available++] = ids[i];
		sent += done;
	}
	do
		reclaim(p);
	while (p->tx_oldest != p->tx_next);
}

static uint32_t pass(struct port *from, struct port *to)
{
	uint32_t ids[BURST], received = rx_burst(from, ids, BURST);
	if (received == 0)
		return 0;
	uint32_t sent = tx_burst(to, ids, received);
	for (uint32_t i = sent; i < received; i++)
		pool[available++] = ids[i];
	return sent;
}

static void forward(struct port *a, struct port *b, long count)
{
	for (long done = 0; done < count;)
		done += pass(a, b) + pass(b, a);
}

int main(int argc, char **argv)
{
	static struct port a, b;
	memory = pages(sizeof *memory);
	make_frames();
	if (argc == 4 && !strcmp(argv[1], "tx")) {
		long count = atol(argv[3]);
		open_port(&a, argv[2], 0);
		until_link(&a);
		transmit(&a, count);
		ready();
		while (asked()) {
			double start = now();
			transmit(&a, count);
			answer(count / (now() - start));
		}
		close_port(&a);
		return 0;
	}
	if (argc == 5 && !strcmp(argv[1], "forward")) {
		long count = atol(argv[4]);
		open_port(&a, argv[2], 0);
		open_port(&b, argv[3], 1);
		until_link(&a);
		until_link(&b);
		transmit(&a, IN_FLIGHT);
		transmit(&b, IN_FLIGHT);
		forward(&a, &b, count);
		ready();
		while (asked()) {
			double start = now();
			forward(&a, &b, count);
			answer(count / (now() - start));
		}
		close_port(&b);
		close_port(&a);
		return 0;
	}
	return 2;
}
