#include "sigbus.h"

#include "memfd.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>
#include <new>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

namespace vfio::sigbus {

// What the handler reads is lock-free and never freed: it may run on any thread at any time.
static_assert(std::atomic<uintptr_t>::is_always_lock_free);

namespace {

struct Block {
  Guard guards[256];
  std::atomic<Block*> next{nullptr};
};

} // namespace

static Block blocks;
static size_t pageSize;

/// A file of 0xff, what a PCI read without an answer gives, at most this long; behind it, zeros up
/// to the length of the longest guarded range. Made beforehand, as the handler cannot count on
/// memory, nor on room for one more mapping.
static constexpr size_t poisonLength = 16 << 20;
static int poisonFile = -1;

/// Mappings that are there to be given up. A process that has as many as it may have can still
/// unmap, but not even replace one.
static constexpr size_t spareCount = 8;
static std::atomic<void*> spares[spareCount];

static std::mutex mutex; ///< of everything but the handler
static size_t poisonFilled = 0;
static size_t poisonSize = 0;

/// Who had the signal before; replaced as a whole, and never freed, for the handler may be in it.
static std::atomic<const struct sigaction*> previous{nullptr};

/// `start` of a guard that is taken but not yet valid: no address is above it.
static constexpr uintptr_t incomplete = UINTPTR_MAX;

static Guard* find(uintptr_t address) {
  for (Block* block = &blocks; block != nullptr; block = block->next.load()) {
    for (Guard& guard : block->guards) {
      const uintptr_t start = guard.start.load(std::memory_order_acquire);
      const uintptr_t end = guard.end.load(std::memory_order_acquire);
      // `start` again, in case the guard changed hands in between.
      if (start != 0 && address >= start && address < end &&
          guard.start.load(std::memory_order_acquire) == start)
        return &guard;
    }
  }
  return nullptr;
}

/// SAFETY: [start, start + length) lies in a guarded range, whose addresses stay ours at least
/// until the access that faulted, and so its view or accessor, is gone.
static bool cover(uintptr_t start, size_t length, int sharing) {
  void* target = reinterpret_cast<void*>(start);
  if (mmap(target, length, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_NORESERVE | sharing, poisonFile,
           0) == MAP_FAILED)
    return false;
  madvise(target, length, MADV_DONTFORK);
  return true;
}

static bool dropSpare() {
  for (std::atomic<void*>& spare : spares) {
    void* page = spare.exchange(nullptr);
    if (page != nullptr && munmap(page, pageSize) == 0)
      return true;
  }
  return false;
}

static void markLost(Guard& guard) {
  const uint32_t fault = guard.faults.fetch_add(1) + 1;
  guard.lost.store(static_cast<uint8_t>(fault % 255 + 1));
}

/// Puts poison in place of the faulting page and what follows it: of a file that was cut short, the
/// rest is gone as well, and one mapping for each page could be more than a process may have.
static bool poison(uintptr_t address) {
  Guard* guard = find(address);
  if (guard == nullptr)
    return false;
  guard->handling.fetch_add(1);
  // Before, so that no thread takes the poison for the device.
  markLost(*guard);
  const uintptr_t start = guard->start.load();
  const uintptr_t end = guard->end.load();
  const uintptr_t page = address & ~(pageSize - 1);
  // Private, so that a store changes this poison only. Where limits do not let it (RLIMIT_DATA,
  // strict overcommit, the number of mappings), all of the range, shared: that replaces mappings by
  // one, and counts for none of them.
  bool covered = cover(page, std::min(end - page, poisonLength), MAP_PRIVATE);
  do {
    covered = covered || cover(start, end - start, MAP_SHARED);
  } while (!covered && dropSpare());
  guard->handling.fetch_sub(1);
  return covered;
}

/// Not ours: what would have happened without this handler.
static void chain(int signal, siginfo_t* info, void* context) {
  const struct sigaction& before = *previous.load();
  const bool sentByProcess = info->si_code <= 0;
  if ((before.sa_flags & SA_SIGINFO) != 0) {
    before.sa_sigaction(signal, info, context);
  } else if (before.sa_handler == SIG_IGN && sentByProcess) {
    return;
  } else if (before.sa_handler == SIG_DFL || before.sa_handler == SIG_IGN) {
    // A fault raises the signal again on return; the kernel does not let a fault be ignored.
    struct sigaction standard = {};
    standard.sa_handler = SIG_DFL;
    sigaction(signal, &standard, nullptr);
    if (sentByProcess)
      raise(signal);
  } else {
    before.sa_handler(signal);
  }
}

static void onSignal(int signal, siginfo_t* info, void* context) {
  const int saved = errno;
  // An aborted access is BUS_OBJERR on arm64. Other codes are misalignment and memory errors.
  const bool aborted = info->si_code == BUS_ADRERR || info->si_code == BUS_OBJERR;
  if (!aborted || !poison(reinterpret_cast<uintptr_t>(info->si_addr)))
    chain(signal, info, context);
  errno = saved;
}

/// With the mutex held.
static void install() {
  struct sigaction current;
  sigaction(SIGBUS, nullptr, &current);
  if ((current.sa_flags & SA_SIGINFO) != 0 && current.sa_sigaction == onSignal)
    return;
  auto* before = new (std::nothrow) struct sigaction(current);
  if (before == nullptr)
    return;
  // Valid before the first signal can arrive.
  previous.store(before);
  struct sigaction action = {};
  action.sa_sigaction = onSignal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, nullptr);
}

/// Poison for a range of `length`, with the mutex held. False and errno if there is no memory.
static bool preparePoison(size_t length) {
  if (poisonFile < 0)
    poisonFile = createMemfd("vfio-poison", 0);
  if (poisonFile < 0)
    return false;
  if (length > poisonSize) {
    if (ftruncate(poisonFile, static_cast<off_t>(length)) < 0)
      return false;
    poisonSize = length;
  }
  static uint8_t ones[16384];
  memset(ones, 0xff, sizeof ones);
  const size_t wanted = std::min(length, poisonLength);
  while (poisonFilled < wanted) {
    const ssize_t written = pwrite(poisonFile, ones, std::min(sizeof ones, wanted - poisonFilled),
                                   static_cast<off_t>(poisonFilled));
    if (written < 0 && errno != EINTR)
      return false;
    poisonFilled += std::max<ssize_t>(written, 0);
  }
  return true;
}

/// With the mutex held. Without them, faults are survived as long as there is room for mappings.
static void prepareSpares() {
  for (std::atomic<void*>& spare : spares) {
    if (spare.load() != nullptr)
      continue;
    // Each the first page of the file, so that the kernel cannot make neighbours one mapping.
    void* page = mmap(nullptr, pageSize, PROT_NONE, MAP_PRIVATE, poisonFile, 0);
    if (page != MAP_FAILED)
      spare.store(page);
  }
}

/// With the mutex held, so that a guard that is free stays so.
static Guard* freeGuard() {
  for (Block* block = &blocks;; block = block->next.load()) {
    for (Guard& guard : block->guards)
      if (guard.start.load() == 0)
        return &guard;
    if (block->next.load() == nullptr)
      block->next.store(new (std::nothrow) Block());
    if (block->next.load() == nullptr)
      return nullptr;
  }
}

Guard* guard(uintptr_t start, size_t length) {
  const std::lock_guard lock(mutex);
  pageSize = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  if (!preparePoison(length))
    return nullptr;
  prepareSpares();
  install();
  Guard* guard = freeGuard();
  if (guard == nullptr) {
    errno = ENOMEM;
    return nullptr;
  }
  guard->start.store(incomplete);
  guard->end.store(start + length);
  guard->faults.store(0);
  guard->lost.store(0);
  guard->start.store(start);
  return guard;
}

void unguard(Guard* guard) { guard->start.store(0); }

uint8_t beginRestore(Guard& guard) {
  const uint8_t before = guard.lost.load();
  // A handler that has counted its fault already may not have covered the range yet.
  while (guard.handling.load() != 0)
    sched_yield();
  return before;
}

void restored(Guard& guard, uint8_t before) { guard.lost.compare_exchange_strong(before, 0); }

void rearm() {
  const std::lock_guard lock(mutex);
  if (previous.load() != nullptr)
    install();
}

} // namespace vfio::sigbus
