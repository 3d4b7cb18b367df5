// The order of register accesses and ordinary memory, as Linux' writel() and readl() keep it: what
// was written to DMA memory before a register write is visible to the device when the write
// arrives, and what is read from DMA memory after a register read is not older than that read.
#pragma once

#include <atomic>

namespace vfio {

/// Between stores to DMA memory and a register write.
inline void barrierBeforeDeviceWrite() {
#if defined(__x86_64__)
  // The processor keeps stores in order; only the compiler must not move them.
  std::atomic_signal_fence(std::memory_order_seq_cst);
#elif defined(__aarch64__)
  // A C++ fence covers the inner shareable domain only; devices are in the outer one.
  asm volatile("dmb oshst" ::: "memory");
#elif defined(__riscv)
  asm volatile("fence w, o" ::: "memory");
#else
  __sync_synchronize();
#endif
}

/// Between a register read and loads from DMA memory.
inline void barrierAfterDeviceRead() {
#if defined(__x86_64__)
  std::atomic_signal_fence(std::memory_order_seq_cst);
#elif defined(__aarch64__)
  asm volatile("dmb oshld" ::: "memory");
#elif defined(__riscv)
  asm volatile("fence i, ir" ::: "memory");
#else
  __sync_synchronize();
#endif
}

} // namespace vfio
