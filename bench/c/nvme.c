/* nvme BDF DEPTH COUNT: random reads of 4 KiB by polling, in I/O operations a second. */
#include "vfio.h"

#define ENTRIES 64
#define IOVA 0x10000000ull

enum { ASQ, ACQ, SQ, CQ, IDENTIFY, DATA }; /* pages of `memory` */
enum { CC = 0x14 / 4, CSTS = 0x1c / 4, AQA = 0x24 / 4, REG_ASQ = 0x28 / 4, REG_ACQ = 0x30 / 4 };

static volatile uint32_t *bar;
static uint8_t *memory;

struct queue {
	uint32_t (*sq)[16];
	volatile uint32_t (*cq)[4];
	volatile uint32_t *sq_doorbell, *cq_doorbell;
	unsigned tail, head, phase;
};

static uint64_t iova(unsigned page)
{
	return IOVA + page * 4096ull;
}

static struct queue queue(unsigned id, unsigned sq, unsigned cq)
{
	return (struct queue){
		.sq = (void *)(memory + sq * 4096),
		.cq = (void *)(memory + cq * 4096),
		.sq_doorbell = bar + 0x400 + 2 * id, /* CAP.DSTRD = 0 */
		.cq_doorbell = bar + 0x400 + 2 * id + 1,
		.phase = 1,
	};
}

static uint32_t *claim(struct queue *q, uint32_t opcode, uint32_t id, uint64_t data)
{
	uint32_t *command = q->sq[q->tail];
	memset(command, 0, 64);
	command[0] = opcode | id << 16;
	command[6] = data;
	command[7] = data >> 32;
	q->tail = (q->tail + 1) % ENTRIES;
	return command;
}

static void ring(struct queue *q)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	*q->sq_doorbell = q->tail;
}

/* The next completion's command id, or -1. */
static int reap(struct queue *q)
{
	uint32_t word = q->cq[q->head][3];
	if ((word >> 16 & 1) != q->phase)
		return -1;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (word >> 17) {
		fprintf(stderr, "status 0x%x\n", word >> 17);
		exit(1);
	}
	if (++q->head == ENTRIES) {
		q->head = 0;
		q->phase ^= 1;
	}
	return word & 0xffff;
}

static void admin(struct queue *q, uint32_t opcode, uint64_t data, uint32_t w10, uint32_t w11)
{
	uint32_t *command = claim(q, opcode, 0, data);
	command[1] = opcode == 0x06; /* Identify Namespace 1 */
	command[10] = w10;
	command[11] = w11;
	ring(q);
	while (reap(q) < 0)
		;
	*q->cq_doorbell = q->head;
}

static void until(uint32_t ready)
{
	while ((bar[CSTS] & 1) != ready)
		usleep(1000);
}

static void set64(unsigned at, uint64_t value)
{
	bar[at] = value;
	bar[at + 1] = value >> 32;
}

static uint32_t seed = 1;
static unsigned blocks; /* of a command */
static uint32_t places;

static void submit(struct queue *q, int id)
{
	seed = seed * 1664525 + 1013904223;
	uint32_t *command = claim(q, 0x02, id, iova(DATA + id));
	command[1] = 1;
	command[10] = (seed >> 8) % places * blocks;
	command[12] = blocks - 1;
}

static void run(struct queue *q, unsigned depth, long count)
{
	long left = count, inflight = 0;
	for (unsigned i = 0; i < depth && left > 0; i++, left--, inflight++)
		submit(q, i);
	ring(q);
	while (inflight > 0) {
		int id, done = 0, more = 0;
		while ((id = reap(q)) >= 0) {
			done++;
			inflight--;
			if (left > 0) {
				submit(q, id);
				left--;
				inflight++;
				more++;
			}
		}
		if (done)
			*q->cq_doorbell = q->head;
		if (more)
			ring(q);
	}
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	unsigned depth = atoi(argv[2]);
	long count = atol(argv[3]);
	uint64_t size = (DATA + depth) * 4096ull;
	struct vfio v = vfio_open(argv[1]);
	bar = vfio_bar0(v);
	memory = pages(size);
	vfio_map(v, memory, IOVA, size);
	vfio_bus_master(v);

	bar[CC] = 0;
	until(0);
	bar[AQA] = (ENTRIES - 1) << 16 | (ENTRIES - 1);
	set64(REG_ASQ, iova(ASQ));
	set64(REG_ACQ, iova(ACQ));
	bar[CC] = 6 << 16 | 4 << 20 | 1;
	until(1);
	struct queue a = queue(0, ASQ, ACQ), q = queue(1, SQ, CQ);
	admin(&a, 0x06, iova(IDENTIFY), 0, 0);
	uint8_t *namespace = memory + IDENTIFY * 4096;
	blocks = 4096 >> namespace[128 + 4 * (namespace[26] & 0xf) + 2];
	uint64_t size_in_blocks = *(uint64_t *)namespace;
	places = (size_in_blocks < 1 << 24 ? size_in_blocks : 1 << 24) / blocks;
	admin(&a, 0x05, iova(CQ), (ENTRIES - 1) << 16 | 1, 1);
	admin(&a, 0x01, iova(SQ), (ENTRIES - 1) << 16 | 1, 1 << 16 | 1);

	run(&q, depth, count);
	ready();
	while (asked()) {
		double start = now();
		run(&q, depth, count);
		answer(count / (now() - start));
	}
	bar[CC] = 0;
	until(0);
	vfio_close(v);
	return 0;
}
