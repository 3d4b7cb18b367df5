// Survive SIGBUS on device memory. A BAR access while memory decoding is off, in D3 or after
// surprise removal raises SIGBUS, and so does memory of a file that was cut short; without a
// handler it kills the process.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace vfio::sigbus {

/// A guarded range of device memory, as the signal handler sees it.
struct Guard {
  std::atomic<uintptr_t> start{0}; ///< 0: free
  std::atomic<uintptr_t> end{0};
  std::atomic<uint32_t> faults{0};
  /// 0, or the number (1 to 255, in turn) of the last fault: a part of the range is poison (0xff)
  /// instead of device memory.
  std::atomic<uint8_t> lost{0};
  /// How many threads are in the handler for it.
  std::atomic<uint32_t> handling{0};
};

/// Guards [start, start + length), both page-aligned, and installs the handler. nullptr and errno
/// if that takes more memory or descriptors than there are.
Guard* guard(uintptr_t start, size_t length);

/// The range must not be able to raise SIGBUS any more.
void unguard(Guard* guard);

/// Before device memory is mapped anew: what to give to restored(). Faults of before are over.
uint8_t beginRestore(Guard& guard);
/// After it: not lost any more, unless there was a fault in between.
void restored(Guard& guard, uint8_t before);

/// Puts the handler back in its place if somebody has taken it; theirs is called for what is not
/// ours. Nothing if no range was ever guarded.
void rearm();

} // namespace vfio::sigbus
