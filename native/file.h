// File descriptors that an environment (the main thread or a worker) owns.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>

namespace vfio {

enum class FileKind { plain, eventfd };

/// One descriptor. Whoever is inside a system call on it holds a shared_ptr, so that close() from
/// JavaScript while an ioctl runs on the thread pool takes effect when the ioctl returns, and the
/// kernel cannot give the number to another file in between. Whoever only wants to come back to it
/// must not keep a device open: a weak_ptr does for any thread (a range that may be mapped anew), a
/// ThreadFile for the environment's own (register accessors).
class File {
public:
  File(int fd, FileKind kind) : fd_(fd), kind_(kind) {}
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  int fd() const { return fd_; }
  FileKind kind() const { return kind_; }
  bool closed() const { return closed_->load(std::memory_order_acquire); }
  void markClosed() { closed_->store(true, std::memory_order_release); }
  /// The number is someone else's now: given away, or closed behind our back.
  void disown() { owned_ = false; }
  /// Called when the kernel has the descriptor back, on the thread that was the last to use it.
  /// SAFETY: set by who took the file from its table, before giving up its own reference.
  void whenClosed(std::function<void()> then) { then_ = std::move(then); }

  /// The file for one more system call, or nothing once it was closed.
  static std::shared_ptr<File> use(const std::weak_ptr<File>& reference);

private:
  friend class ThreadFile;
  const int fd_;
  const FileKind kind_;
  const std::shared_ptr<std::atomic<bool>> closed_ = std::make_shared<std::atomic<bool>>(false);
  bool owned_ = true;
  std::function<void()> then_;
};

/// A file in the hands of its environment's thread, at the cost of a load. That thread is the one
/// to close it, and marks it first: what is open here stays so until control returns to JavaScript.
class ThreadFile {
public:
  explicit ThreadFile(const File& file) : fd_(file.fd_), closed_(file.closed_) {}

  /// -1 once it was closed, which every system call answers with EBADF.
  int fd() const { return closed_->load(std::memory_order_relaxed) ? -1 : fd_; }

private:
  const int fd_;
  const std::shared_ptr<const std::atomic<bool>> closed_;
};

/// The descriptors of one environment. Thread-safe: ioctls on the thread pool adopt here, and hold
/// the table meanwhile. What is adopted after the environment has ended is closed with the table.
class FileTable {
public:
  /// Takes ownership of `fd`, and returns it.
  int adopt(int fd, FileKind kind = FileKind::plain);
  /// The file, or nothing if this environment does not own such a descriptor.
  std::shared_ptr<File> find(int fd);
  /// The file, which from now on is closed as soon as nobody uses it; or nothing.
  std::shared_ptr<File> take(int fd);
  /// 0, or -EBADF if this environment does not own it.
  int close(int fd);
  void closeAll();

private:
  std::mutex mutex_;
  std::unordered_map<int, std::shared_ptr<File>> files_;
};

} // namespace vfio
