// Survive SIGBUS on device memory. A BAR access while memory decoding is off, in D3 or after
// surprise removal raises SIGBUS; without a handler it kills the process.
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
  /// A page of the range is poison (0xff) instead of device memory.
  std::atomic<bool> lost{false};
};

/// Guards [start, start + length), both page-aligned, and installs the handler the first time.
/// nullptr if all guards are taken.
Guard* guard(uintptr_t start, size_t length);

/// The range must not be able to raise SIGBUS any more.
void unguard(Guard* guard);

} // namespace vfio::sigbus
