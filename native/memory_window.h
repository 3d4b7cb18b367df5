// Registers reached by loads and stores of mapped memory.
#pragma once

#include "barrier.h"
#include "range.h"
#include "register_window.h"

#include <sys/mman.h>

#include <unordered_set>

namespace vfio {

class MemoryWindow : public RegisterWindow {
public:
  using Set = std::unordered_set<MemoryWindow*>;

  /// `open` holds the window until it is closed.
  MemoryWindow(std::shared_ptr<Range> range, uint64_t offset, uint64_t length, int protection,
               Set& open)
      : RegisterWindow(reinterpret_cast<uintptr_t>(range->base()) + offset, length,
                       (protection & PROT_READ) != 0, (protection & PROT_WRITE) != 0),
        range_(std::move(range)), lost_(*flagOf(*range_)), open_(open) {
    open_.insert(this);
  }
  ~MemoryWindow() { close(); }

  /// 0 or -errno; -EIO if the device did not answer, from then on until the range is restored: the
  /// memory may be a page of 0xff that only looks like the device.
  template <class T> int read(int64_t offset, T& value) const {
    if (!readable_)
      return -EACCES;
    if (lost_.load(std::memory_order_relaxed) != 0)
      return -EIO;
    // SAFETY: locate() has checked bounds and alignment; an open window's range is mapped with this
    // protection. volatile: exactly one access, of exactly this width.
    value = *reinterpret_cast<const volatile T*>(start_ + static_cast<uint64_t>(offset));
    barrierAfterDeviceRead();
    return outcome();
  }

  template <class T> int write(int64_t offset, T value) const {
    if (!writable_)
      return -EACCES;
    if (lost_.load(std::memory_order_relaxed) != 0)
      return -EIO;
    barrierBeforeDeviceWrite();
    // SAFETY: as in read().
    *reinterpret_cast<volatile T*>(start_ + static_cast<uint64_t>(offset)) = value;
    return outcome();
  }

  void close() {
    if (closed_)
      return;
    closed_ = true;
    open_.erase(this);
    range_.reset();
  }

private:
  static const std::atomic<uint8_t>* flagOf(Range& range) {
    static const std::atomic<uint8_t> never{0};
    const std::atomic<uint8_t>* lost = range.lost();
    return lost == nullptr ? &never : lost;
  }

  /// SIGBUS interrupts the very access, on this thread: a compiler fence is enough to see its mark.
  int outcome() const {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    return lost_.load(std::memory_order_relaxed) != 0 ? -EIO : 0;
  }

  std::shared_ptr<Range> range_;
  const std::atomic<uint8_t>& lost_; ///< valid while the window is open
  Set& open_;                        ///< valid while the window is open
};

} // namespace vfio
