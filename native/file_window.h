// Registers reached by pread(2) and pwrite(2): config space, and regions without mmap.
#pragma once

#include "file.h"
#include "register_window.h"

#include <unistd.h>

namespace vfio {

class FileWindow : public RegisterWindow {
public:
  FileWindow(std::weak_ptr<File> file, uint64_t position, uint64_t length)
      : RegisterWindow(position, length, true, true), file_(std::move(file)) {}

  /// 0 or -errno: -EBADF once the file is closed, -EIO if not all of the register was transferred.
  template <class T> int read(int64_t offset, T& value) const {
    const auto file = File::use(file_);
    return file ? outcome(::pread(file->fd(), &value, sizeof value, position(offset)), sizeof value)
                : -EBADF;
  }

  template <class T> int write(int64_t offset, T value) const {
    const auto file = File::use(file_);
    return file
               ? outcome(::pwrite(file->fd(), &value, sizeof value, position(offset)), sizeof value)
               : -EBADF;
  }

  void close() { closed_ = true; }

private:
  off_t position(int64_t offset) const { return static_cast<off_t>(start_) + offset; }

  static int outcome(ssize_t transferred, size_t width) {
    if (transferred < 0)
      return -errno;
    return static_cast<size_t>(transferred) == width ? 0 : -EIO;
  }

  const std::weak_ptr<File> file_;
};

} // namespace vfio
