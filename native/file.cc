#include "file.h"

#include "environment.h"
#include "memfd.h"

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

namespace vfio {

File::~File() {
  if (owned_)
    ::close(fd_);
  if (then_)
    then_();
}

std::shared_ptr<File> File::use(const std::weak_ptr<File>& reference) {
  std::shared_ptr<File> file = reference.lock();
  return file && !file->closed() ? file : nullptr;
}

int FileTable::adopt(int fd, FileKind kind) {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<File>& entry = files_[fd];
  if (entry) {
    entry->markClosed();
    entry->disown();
  }
  entry = std::make_shared<File>(fd, kind);
  return fd;
}

std::shared_ptr<File> FileTable::find(int fd) {
  const std::lock_guard lock(mutex_);
  const auto found = files_.find(fd);
  return found == files_.end() ? nullptr : found->second;
}

std::shared_ptr<File> FileTable::take(int fd) {
  const std::lock_guard lock(mutex_);
  const auto found = files_.find(fd);
  if (found == files_.end())
    return nullptr;
  std::shared_ptr<File> file = std::move(found->second);
  file->markClosed();
  files_.erase(found);
  return file;
}

int FileTable::close(int fd) { return take(fd) ? 0 : -EBADF; }

void FileTable::closeAll() {
  std::unordered_map<int, std::shared_ptr<File>> files;
  const std::lock_guard lock(mutex_);
  files.swap(files_);
  for (const auto& [fd, file] : files)
    file->markClosed();
}

static int64_t open(Environment& environment, const Arguments& arguments) {
  const auto path = arguments.text(0);
  const auto flags = arguments.int32(1);
  if (!path || !flags)
    return -EINVAL;
  const int fd = ::open(path->c_str(), *flags | O_CLOEXEC, S_IRUSR | S_IWUSR);
  return fd < 0 ? -errno : environment.files()->adopt(fd);
}

static int64_t duplicateFd(Environment& environment, const Arguments& arguments) {
  const auto fd = arguments.int32(0);
  if (!fd)
    return -EINVAL;
  const int own = ::fcntl(*fd, F_DUPFD_CLOEXEC, 0);
  return own < 0 ? -errno : environment.files()->adopt(own);
}

static int64_t giveFd(Environment& environment, const Arguments& arguments) {
  const auto fd = arguments.int32(0);
  if (!fd)
    return -EINVAL;
  if (::fcntl(*fd, F_SETFD, FD_CLOEXEC) < 0)
    return -errno;
  if (const auto file = environment.files()->take(*fd))
    file->disown();
  return *fd;
}

static int64_t close(Environment& environment, const Arguments& arguments) {
  const auto fd = arguments.int32(0);
  if (!fd)
    return -EINVAL;
  environment.watches().close(*fd);
  return environment.files()->close(*fd);
}

static int64_t memfdCreate(Environment& environment, const Arguments& arguments) {
  const auto length = arguments.uint53(0);
  const auto flags = arguments.uint32(1);
  if (!length || !flags)
    return -EINVAL;
  const int fd = createMemfd("vfio", *flags);
  if (fd < 0)
    return -errno;
  if (::ftruncate(fd, static_cast<off_t>(*length)) < 0) {
    const int error = -errno;
    ::close(fd);
    return error;
  }
  return environment.files()->adopt(fd);
}

template <auto systemCall>
static int64_t transfer(Environment& environment, const Arguments& arguments) {
  const auto fd = arguments.int32(0);
  const auto bytes = arguments.bytes(1);
  const auto position = arguments.uint53(2);
  if (!fd || !bytes || !position)
    return -EINVAL;
  const auto file = environment.files()->find(*fd);
  if (!file)
    return -EBADF;
  // SAFETY: the array cannot be detached or collected before this function returns.
  return resultOf(systemCall(file->fd(), bytes->data, bytes->size, static_cast<off_t>(*position)));
}

void defineFiles(Napi::Object exports) {
  define<open>(exports, "open");
  define<duplicateFd>(exports, "duplicateFd");
  define<giveFd>(exports, "giveFd");
  define<close>(exports, "close");
  define<memfdCreate>(exports, "memfdCreate");
  define<transfer<::pread>>(exports, "pread");
  define<transfer<::pwrite>>(exports, "pwrite");
}

} // namespace vfio
