#include "sigbus.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>
#include <sys/mman.h>
#include <unistd.h>

namespace vfio::sigbus {

// What the handler reads is lock-free and never freed: it may run on any thread at any time.
static_assert(std::atomic<uintptr_t>::is_always_lock_free);
static Guard guards[1024];
static size_t pageSize;
static struct sigaction previous;

/// `start` of a guard that is taken but not yet valid: no address is above it.
static constexpr uintptr_t incomplete = UINTPTR_MAX;

static Guard* find(uintptr_t address) {
  for (Guard& guard : guards) {
    const uintptr_t start = guard.start.load(std::memory_order_acquire);
    const uintptr_t end = guard.end.load(std::memory_order_acquire);
    // `start` again, in case the guard changed hands in between.
    if (start != 0 && address >= start && address < end &&
        guard.start.load(std::memory_order_acquire) == start)
      return &guard;
  }
  return nullptr;
}

/// Puts a page of 0xff, what a PCI read without an answer gives, in place of the faulting page.
/// The page is filled first and then moved, so that no thread ever reads zeros from it.
static bool poison(uintptr_t address) {
  Guard* guard = find(address);
  if (guard == nullptr)
    return false;
  void* page = mmap(nullptr, pageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED)
    return false;
  memset(page, 0xff, pageSize);
  madvise(page, pageSize, MADV_DONTFORK);
  // SAFETY: the target lies in a guarded range, whose addresses stay ours at least until the access
  // that faulted, and so its view or accessor, is gone.
  void* target = reinterpret_cast<void*>(address & ~(pageSize - 1));
  // Before, so that no thread takes the page for the device; and once more after, because a restore
  // meanwhile may have cleared it.
  guard->lost.store(true);
  if (mremap(page, pageSize, pageSize, MREMAP_MAYMOVE | MREMAP_FIXED, target) == MAP_FAILED) {
    munmap(page, pageSize);
    return false;
  }
  guard->lost.store(true);
  guard->faults.fetch_add(1);
  return true;
}

/// Not ours: what would have happened without this handler.
static void chain(int signal, siginfo_t* info, void* context) {
  const bool sentByProcess = info->si_code <= 0;
  if ((previous.sa_flags & SA_SIGINFO) != 0) {
    previous.sa_sigaction(signal, info, context);
  } else if (previous.sa_handler == SIG_IGN && sentByProcess) {
    return;
  } else if (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN) {
    // A fault raises the signal again on return; the kernel does not let a fault be ignored.
    struct sigaction standard = {};
    standard.sa_handler = SIG_DFL;
    sigaction(signal, &standard, nullptr);
    if (sentByProcess)
      raise(signal);
  } else {
    previous.sa_handler(signal);
  }
}

static void onSignal(int signal, siginfo_t* info, void* context) {
  const int saved = errno;
  // Other codes are misalignment and memory errors of the machine.
  if (info->si_code != BUS_ADRERR || !poison(reinterpret_cast<uintptr_t>(info->si_addr)))
    chain(signal, info, context);
  errno = saved;
}

static void install() {
  pageSize = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  struct sigaction action = {};
  action.sa_sigaction = onSignal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  // `previous` must be valid before the first signal can arrive.
  sigaction(SIGBUS, nullptr, &previous);
  sigaction(SIGBUS, &action, nullptr);
}

Guard* guard(uintptr_t start, size_t length) {
  static std::once_flag installed;
  std::call_once(installed, install);
  for (Guard& guard : guards) {
    uintptr_t free = 0;
    if (!guard.start.compare_exchange_strong(free, incomplete))
      continue;
    guard.end.store(start + length);
    guard.faults.store(0);
    guard.lost.store(false);
    guard.start.store(start);
    return &guard;
  }
  return nullptr;
}

void unguard(Guard* guard) { guard->start.store(0); }

} // namespace vfio::sigbus
