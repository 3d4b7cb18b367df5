// ioctl(2) arguments in native memory.
#pragma once

#include "arguments.h"
#include "file.h"

#include <linux/ioctl.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <optional>

namespace vfio {

/// A zero-padded copy of an ioctl's argument. The kernel works on the copy and never on JavaScript
/// memory: it copies a fixed minimum of a struct whatever `argsz` says, and another thread that
/// shares the memory could change `argsz` after it was checked.
class IoctlBuffer {
public:
  IoctlBuffer(uint32_t request, const void* bytes, size_t size) {
    // At least what the request encodes; VFIO's encode nothing, and none has a larger fixed part.
    const size_t capacity = std::max({size, size_t{_IOC_SIZE(request)}, sizeof small_});
    if (capacity > sizeof small_) {
      large_.reset(new (std::nothrow) uint8_t[capacity]());
      data_ = large_.get();
    }
    if (data_ != nullptr && size > 0)
      memcpy(data_, bytes, size);
  }
  IoctlBuffer(const IoctlBuffer&) = delete;
  IoctlBuffer& operator=(const IoctlBuffer&) = delete;

  /// nullptr if there was not enough memory.
  uint8_t* data() { return data_; }

  /// The struct's first u32, its own size.
  uint32_t argsz() const { return at<uint32_t>(0); }

  template <class T> T at(size_t offset) const {
    T value;
    memcpy(&value, data_ + offset, sizeof value);
    return value;
  }

private:
  uint8_t small_[256] = {};
  std::unique_ptr<uint8_t[]> large_;
  uint8_t* data_ = small_;
};

/// 0, -ENOMEM, or -EINVAL if the struct claims a size that it does not have.
inline int checkStruct(IoctlBuffer& buffer, size_t size) {
  if (buffer.data() == nullptr)
    return -ENOMEM;
  const uint32_t argsz = buffer.argsz();
  return argsz >= sizeof argsz && argsz <= size ? 0 : -EINVAL;
}

/// Where in a struct the kernel puts a descriptor: the argument `index`, if there is one. False if
/// it is not inside of `size` bytes.
inline bool parseFdOffset(const Arguments& arguments, size_t index, size_t size,
                          std::optional<size_t>& offset) {
  if (arguments[index].IsUndefined())
    return true;
  offset = arguments.uint53(index);
  return offset && size >= sizeof(int32_t) && *offset <= size - sizeof(int32_t);
}

/// Makes `files` the owner of the descriptor in a struct, unless it is negative: there is none.
inline void adoptAt(FileTable& files, const IoctlBuffer& buffer, size_t offset) {
  const auto fd = buffer.at<int32_t>(offset);
  if (fd >= 0)
    files.adopt(fd);
}

/// Integer arguments end where pointers begin: below any address that the kernel lets a process
/// map, so that a request that takes a pointer after all is EFAULT and no memory is harmed.
constexpr uint32_t largestIoctlValue = 0xffff;

} // namespace vfio
