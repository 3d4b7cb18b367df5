/*
 * Baseline of the nvme rows: the same driver in C, by raw ioctls on the group interface.
 *
 *   nvme GROUP BDF DEPTH SECONDS   prints 4 KiB random reads per second
 */
#include "vfio.h"

enum { ENTRIES = 64, BLOCKS = 8, LIMIT = 1 << 18 };

struct submission {
  uint32_t dword0, nsid, reserved[4];
  uint64_t prp1, prp2;
  uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
};
struct completion {
  uint32_t result, reserved, queue, status;
};

static volatile uint8_t* bar;
static uint8_t* memory;

struct queue {
  struct submission* sq;
  volatile struct completion* cq;
  uint32_t tail, head, phase, id;
};

static uint32_t read32(uint32_t offset) { return *(volatile uint32_t*)(bar + offset); }
static void write32(uint32_t offset, uint32_t value) {
  __asm__ volatile("" ::: "memory");
  *(volatile uint32_t*)(bar + offset) = value;
}

static struct submission* next(struct queue* q) {
  struct submission* entry = &q->sq[q->tail];
  q->tail = (q->tail + 1) % ENTRIES;
  memset(entry, 0, sizeof *entry);
  return entry;
}

static void ring(struct queue* q) { write32(0x1000 + 8 * q->id, q->tail); }

/* Completed command IDs into `ids`; returns how many. */
static uint32_t reap(struct queue* q, uint16_t* ids) {
  uint32_t done = 0;
  for (;;) {
    uint32_t word = __atomic_load_n(&q->cq[q->head].status, __ATOMIC_ACQUIRE);
    if (((word >> 16) & 1) != q->phase)
      break;
    CHECK(word >> 17 == 0);
    ids[done++] = (uint16_t)word;
    if (++q->head == ENTRIES) {
      q->head = 0;
      q->phase ^= 1;
    }
  }
  if (done > 0)
    write32(0x1004 + 8 * q->id, q->head);
  return done;
}

static void admin(struct queue* q, uint8_t opcode, uint64_t prp, uint32_t cdw10, uint32_t cdw11) {
  struct submission* entry = next(q);
  entry->dword0 = opcode;
  entry->prp1 = prp;
  entry->cdw10 = cdw10;
  entry->cdw11 = cdw11;
  ring(q);
  uint16_t ids[ENTRIES];
  while (reap(q, ids) == 0)
    ;
}

static struct queue makeQueue(uint32_t id, size_t offset) {
  return (struct queue){(void*)(memory + offset), (void*)(memory + offset + 4096), 0, 0, 1, id};
}

int main(int argc, char** argv) {
  CHECK(argc == 5);
  const uint32_t depth = (uint32_t)atoi(argv[3]);
  CHECK(depth >= 1 && depth < ENTRIES);
  const struct device device = openDevice(argv[1], argv[2]);
  bar = device.bar;

  const size_t size = 1 << 20;
  memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  mapDma(&device, memory, 1 << 20, size);

  write32(0x14, 0);
  while (read32(0x1c) & 1)
    ;
  struct queue a = makeQueue(0, 0);
  struct queue q = makeQueue(1, 8192);
  const uint32_t iova = 1 << 20;
  write32(0x24, (ENTRIES - 1) << 16 | (ENTRIES - 1));
  write32(0x28, iova);
  write32(0x2c, 0);
  write32(0x30, iova + 4096);
  write32(0x34, 0);
  write32(0x14, 6 << 16 | 4 << 20 | 1);
  while (!(read32(0x1c) & 1))
    ;
  admin(&a, 0x05, iova + 12288, (ENTRIES - 1) << 16 | 1, 1);
  admin(&a, 0x01, iova + 8192, (ENTRIES - 1) << 16 | 1, 1 << 16 | 1);

  uint32_t seed = 1;
  uint64_t completed = 0;
  uint16_t ids[ENTRIES];
  uint32_t ready = depth;
  for (uint32_t i = 0; i < depth; i++)
    ids[i] = (uint16_t)i;
  const double start = now();
  const double end = start + atof(argv[4]);
  double time = start;
  while (time < end) {
    for (uint32_t turn = 0; turn < 256; turn++) {
      for (uint32_t i = 0; i < ready; i++) {
        seed = seed * 1664525 + 1013904223;
        struct submission* entry = next(&q);
        entry->dword0 = 2 | (uint32_t)ids[i] << 16;
        entry->nsid = 1;
        entry->prp1 = iova + 65536 + ids[i] * 4096u;
        entry->cdw10 = (seed >> 14) % LIMIT * BLOCKS;
        entry->cdw12 = BLOCKS - 1;
      }
      if (ready > 0)
        ring(&q);
      ready = reap(&q, ids);
      completed += ready;
    }
    time = now();
  }
  printf("%.1f\n", (double)completed / (time - start));
  return 0;
}
