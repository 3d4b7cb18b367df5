// What register windows have in common: bounds, alignment, and being closed.
#pragma once

#include <cerrno>
#include <cstdint>
#include <memory>

namespace vfio {

/// What a 32-bit access takes and gives, in memory that JavaScript reaches by typed arrays: an
/// argument or a result of Node-API costs a call each.
struct Exchange {
  uint32_t offset;
  uint32_t value; ///< to be written, or read
  int32_t error;  ///< 0 or -errno
};

class RegisterWindow {
public:
  /// `start` is the address or file position of offset 0, which decides on alignment.
  RegisterWindow(uint64_t start, uint64_t length, bool readable, bool writable)
      : start_(start), length_(length), readable_(readable), writable_(writable) {}
  RegisterWindow(const RegisterWindow&) = delete;
  RegisterWindow& operator=(const RegisterWindow&) = delete;

  /// The offset of an access of `width` bytes (a power of two), or -errno.
  int64_t locate(uint64_t offset, unsigned width) const {
    if (closed_)
      return -EBADF;
    if (offset >= length_ || length_ - offset < width)
      return -ERANGE;
    return ((start_ + offset) & (width - 1)) == 0 ? static_cast<int64_t>(offset) : -EINVAL;
  }

  /// The same for any number that JavaScript has.
  int64_t locate(double offset, unsigned width) const {
    if (closed_)
      return -EBADF;
    if (!(offset >= 0))
      return -EINVAL; // also NaN
    if (offset >= static_cast<double>(length_))
      return -ERANGE;
    const auto at = static_cast<int64_t>(offset);
    if (static_cast<double>(at) != offset)
      return -EINVAL;
    return locate(static_cast<uint64_t>(at), width);
  }

  bool closed() const { return closed_; }

  /// Shared with the ArrayBuffer over it, whichever goes last.
  const std::shared_ptr<Exchange> exchange = std::make_shared<Exchange>();

  /// Accessor functions that JavaScript may still call; the last one to go deletes the window.
  uint32_t functions = 0;

protected:
  const uint64_t start_;
  const uint64_t length_; ///< at most 2^53
  const bool readable_;
  const bool writable_;
  bool closed_ = false; ///< accessors run on the thread of their environment only
};

} // namespace vfio
