#include "range.h"

#include <cerrno>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

namespace vfio {

std::shared_ptr<Range> Range::reserve(uint64_t length, uint64_t alignment) {
  static const auto pageSize = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  // No longer than needed: ranges without a gap in between become one mapping of the kernel's once
  // they are overlaid, and a process may have many that it has to keep.
  const uint64_t span = alignment == pageSize ? length : length + alignment;
  void* address =
      mmap(nullptr, span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED)
    return nullptr;
  auto* start = static_cast<uint8_t*>(address);
  const uint64_t excess = reinterpret_cast<uintptr_t>(start) & (alignment - 1);
  uint8_t* base = excess == 0 ? start : start + (alignment - excess);
  if (base > start)
    munmap(start, base - start);
  if (base + length < start + span)
    munmap(base + length, start + span - (base + length));
  madvise(base, length, MADV_DONTFORK);
  return std::shared_ptr<Range>(new Range(base, length));
}

Range::~Range() {
  // SAFETY: the last reference is gone, so nothing can touch these addresses any more.
  if (guard_ != nullptr)
    sigbus::unguard(guard_);
  if (!torn_)
    munmap(base_, length_);
}

/// Anonymous memory is shared, not private: the pages that a device has pinned must stay the ones
/// that the process sees, and private pages are copied on write (the zero page pinned for a
/// device's reads, pages after a fork).
static void* mapAt(void* address, const Mapping& mapping, int fd, int flags) {
  flags |= MAP_SHARED | (mapping.memory == Memory::anonymous ? MAP_ANONYMOUS : 0);
  return mmap(address, mapping.length, mapping.protection, flags, fd,
              static_cast<off_t>(mapping.fileOffset));
}

/// mmap() rounds a length on hugetlbfs up to whole huge pages, and with MAP_FIXED replaces as much:
/// anything that the process has behind the range. Parts of a huge page cannot be mapped over
/// either.
static int checkHugePages(const Mapping& mapping, const uint8_t* target, int fd) {
  struct statfs status;
  if (fstatfs(fd, &status) < 0)
    return -errno;
  if (status.f_type != HUGETLBFS_MAGIC)
    return 0;
  const uint64_t mask = static_cast<uint64_t>(status.f_bsize) - 1;
  const uint64_t all = reinterpret_cast<uintptr_t>(target) | mapping.length | mapping.fileOffset;
  return (all & mask) == 0 ? 0 : -EINVAL;
}

/// Touching a file behind its end is SIGBUS, which only device memory is guarded against.
static int checkInsideFile(const Mapping& mapping, int fd) {
  struct stat status;
  if (fstat(fd, &status) < 0)
    return -errno;
  const bool inside = mapping.fileOffset + mapping.length <= static_cast<uint64_t>(status.st_size);
  return !S_ISREG(status.st_mode) || inside ? 0 : -ENXIO;
}

int Range::place(const Mapping& mapping) {
  uint8_t* target = base_ + mapping.offset;
  std::shared_ptr<File> file;
  int fd = -1;
  if (mapping.memory != Memory::anonymous) {
    file = File::use(mapping.file);
    if (!file)
      return -EBADF;
    fd = file->fd();
    if (const int error = checkHugePages(mapping, target, fd); error < 0)
      return error;
  }
  if (mapping.memory == Memory::file) {
    const int error = checkInsideFile(mapping, fd);
    if (error < 0)
      return error;
  }
  // Try it elsewhere first: a MAP_FIXED that fails may leave a hole in the reservation, where
  // anything in the process could then be mapped.
  void* trial = mapAt(nullptr, mapping, fd, 0);
  if (trial == MAP_FAILED)
    return -errno;
  if (munmap(trial, mapping.length) < 0)
    return -errno;
  // SAFETY: MAP_FIXED replaces only addresses inside of this range's own reservation: the caller
  // has checked the bounds, and checkHugePages() that the kernel does not exceed them.
  if (mapAt(target, mapping, fd, MAP_FIXED) == MAP_FAILED) {
    const int error = -errno;
    torn_ = !zero(mapping.offset, mapping.length);
    return error;
  }
  // A forked child must neither hold the device nor copy pages that a device writes to.
  madvise(target, mapping.length, MADV_DONTFORK);
  return 0;
}

/// Zero pages in place of memory that is gone, because there may be views if this was a restore.
/// False if another thread has got hold of the addresses: its memory is not replaced.
bool Range::zero(uint64_t offset, uint64_t length) {
  uint8_t* target = base_ + offset;
  // SAFETY: without MAP_FIXED, this takes only addresses that are free.
  void* filled = mmap(target, length, PROT_READ | PROT_WRITE,
                      MAP_FIXED_NOREPLACE | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (filled == target)
    return true;
  if (filled != MAP_FAILED)
    munmap(filled, length); // a kernel before 4.17 takes it for a wish
  return false;
}

int Range::map(Mapping mapping) {
  const std::lock_guard lock(mutex_);
  const auto next = mappings_.lower_bound(mapping.offset);
  if (next != mappings_.end() && next->first < mapping.offset + mapping.length)
    return -EEXIST;
  if (next != mappings_.begin()) {
    const Mapping& before = std::prev(next)->second;
    if (before.offset + before.length > mapping.offset)
      return -EEXIST;
  }
  if (mapping.memory == Memory::device && guard_ == nullptr) {
    guard_ = sigbus::guard(reinterpret_cast<uintptr_t>(base_), length_);
    if (guard_ == nullptr)
      return -errno;
  }
  const int error = place(mapping);
  if (error == 0)
    mappings_.emplace(mapping.offset, std::move(mapping));
  return error;
}

int Range::protection(uint64_t offset, uint64_t length) {
  const std::lock_guard lock(mutex_);
  int protection = PROT_READ | PROT_WRITE;
  const uint64_t end = offset + length;
  for (uint64_t at = offset; at < end;) {
    auto after = mappings_.upper_bound(at);
    if (after == mappings_.begin())
      return -EFAULT;
    const Mapping& mapping = std::prev(after)->second;
    if (mapping.offset + mapping.length <= at)
      return -EFAULT;
    protection &= mapping.protection;
    at = mapping.offset + mapping.length;
  }
  return protection;
}

int Range::restore() {
  const std::lock_guard lock(mutex_);
  if (guard_ == nullptr)
    return 0;
  // Cleared behind the mapping, or a thread in between would take poison for the device.
  const uint8_t before = sigbus::beginRestore(*guard_);
  for (const auto& [offset, mapping] : mappings_) {
    if (mapping.memory != Memory::device)
      continue;
    if (const int error = place(mapping); error < 0) {
      uint8_t found = 0;
      guard_->lost.compare_exchange_strong(found, 1);
      return error;
    }
  }
  sigbus::restored(*guard_, before);
  return 0;
}

int Range::lock() {
  const std::lock_guard lock(mutex_);
  return mlock(base_, length_) < 0 ? -errno : 0;
}

int Range::overlay() {
  const std::lock_guard lock(mutex_);
  if (torn_)
    return -EFAULT; // kept as it is until the process ends
  // SAFETY: MAP_FIXED over exactly this range's own reservation. Views that escaped (to another
  // worker, by ArrayBuffer.prototype.transfer) read zeros from here on.
  if (mmap(base_, length_, PROT_READ | PROT_WRITE,
           MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED)
    return -errno;
  madvise(base_, length_, MADV_DONTFORK);
  mappings_.clear();
  if (guard_ != nullptr)
    sigbus::unguard(guard_);
  guard_ = nullptr;
  return 0;
}

uint32_t Range::faults() {
  const std::lock_guard lock(mutex_);
  return guard_ == nullptr ? 0 : guard_->faults.load();
}

std::atomic<uint8_t>* Range::lost() {
  const std::lock_guard lock(mutex_);
  return guard_ == nullptr ? nullptr : &guard_->lost;
}

RangeTable& RangeTable::process() {
  // Never destroyed: threads may still run while the process exits.
  static auto& table = *new RangeTable();
  return table;
}

uint64_t RangeTable::add(std::shared_ptr<Range> range) {
  const std::lock_guard lock(mutex_);
  entries_.emplace(next_, Entry{std::move(range), 1});
  return next_++;
}

std::shared_ptr<Range> RangeTable::attach(uint64_t id) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end())
    return nullptr;
  found->second.references++;
  return found->second.range;
}

int RangeTable::release(uint64_t id) {
  std::shared_ptr<Range> last;
  {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(id);
    if (found == entries_.end() || --found->second.references > 0)
      return 0;
    last = std::move(found->second.range);
    entries_.erase(found);
  }
  return last->overlay();
}

bool RangeTable::issued(uint64_t id) {
  const std::lock_guard lock(mutex_);
  return id != 0 && id < next_;
}

void RangeTable::keep(std::shared_ptr<Range> range) {
  const std::lock_guard lock(mutex_);
  kept_.insert(std::move(range));
}

} // namespace vfio
