// Registers reached by pread(2) and pwrite(2): config space, and regions without mmap.
#pragma once

#include "file.h"
#include "register_window.h"

#include <sys/syscall.h>
#include <unistd.h>

namespace vfio {

class FileWindow : public RegisterWindow {
public:
  FileWindow(const File& file, uint64_t position, uint64_t length)
      : RegisterWindow(position, length, true, true), file_(file) {}

  /// 0 or -errno: -EBADF once the file is closed, -EIO if not all of the register was transferred.
  template <class T> int read(int64_t offset, T& value) const {
    return transfer(SYS_pread64, offset, &value, sizeof value);
  }

  template <class T> int write(int64_t offset, T value) const {
    return transfer(SYS_pwrite64, offset, &value, sizeof value);
  }

  void close() { closed_ = true; }

private:
  /// By syscall(2): as cancellation points, pread(3) and pwrite(3) cost 40 instructions more in a
  /// process with threads, and nobody cancels ours.
  int transfer(long call, int64_t offset, void* value, size_t width) const {
    const auto position = static_cast<off_t>(start_) + offset;
    const long transferred = ::syscall(call, file_.fd(), value, width, position);
    if (transferred < 0)
      return -errno;
    return static_cast<size_t>(transferred) == width ? 0 : -EIO;
  }

  const ThreadFile file_;
};

} // namespace vfio
