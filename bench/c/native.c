/*
 * Baseline of the rows on ordinary memory:  native ROW   prints ns
 */
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "vfio.h"

enum { WORDS = 1024, ROUNDS = 20000000, EVENTS = 2000 };

static volatile double sent;

/* As an interrupt does: at a moment that the reader does not know. */
static void* sender(void* argument) {
  const int fd = *(int*)argument;
  const struct timespec pause = {.tv_nsec = 500000};
  for (int i = 0; i < EVENTS; i++) {
    nanosleep(&pause, NULL);
    const uint64_t one = 1;
    sent = now();
    CHECK(write(fd, &one, sizeof one) == sizeof one);
  }
  return NULL;
}

static int ascending(const void* a, const void* b) {
  const double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

static double interruptP50(void) {
  static double times[EVENTS];
  int fd = eventfd(0, EFD_NONBLOCK);
  const int epoll = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN};
  CHECK(fd >= 0 && epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, sender, &fd) == 0);
  for (int i = 0; i < EVENTS; i++) {
    uint64_t count;
    CHECK(epoll_wait(epoll, &event, 1, -1) == 1 && read(fd, &count, sizeof count) == sizeof count);
    times[i] = (now() - sent) * 1e9;
  }
  pthread_join(thread, NULL);
  qsort(times, EVENTS, sizeof *times, ascending);
  return times[EVENTS / 2];
}

int main(int argc, char** argv) {
  CHECK(argc == 2);
  if (strcmp(argv[1], "native-irq-p50") == 0) {
    printf("%.1f\n", interruptP50());
    return 0;
  }
  volatile uint32_t* words =
      mmap(NULL, WORDS * 4, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK((void*)words != MAP_FAILED);
  const double start = now();
  if (strcmp(argv[1], "native-read32") == 0)
    for (uint32_t i = 0; i < ROUNDS; i++)
      (void)words[i % WORDS];
  else
    for (uint32_t i = 0; i < ROUNDS; i++)
      words[i % WORDS] = i;
  printf("%.2f\n", (now() - start) / ROUNDS * 1e9);
  return 0;
}
