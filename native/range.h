// Ranges of address space: process-wide, reference-counted over environments.
#pragma once

#include "file.h"
#include "sigbus.h"

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <unordered_set>

namespace vfio {

enum class Memory : uint32_t { anonymous = 0, file = 1, device = 2 };

/// Memory behind a part of a range. Offsets and lengths are multiples of the page size.
struct Mapping {
  uint64_t offset;
  uint64_t length;
  Memory memory;
  int protection; ///< PROT_READ | PROT_WRITE
  std::weak_ptr<File> file;
  uint64_t fileOffset;
};

/// Reserved addresses. They stay reserved as long as anything that could still touch them holds a
/// reference: an ArrayBuffer not yet collected, in whichever environment, or register accessors.
class Range {
public:
  /// nullptr and errno if the addresses cannot be reserved.
  static std::shared_ptr<Range> reserve(uint64_t length, uint64_t alignment);
  ~Range();
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;

  uint8_t* base() const { return base_; }
  uint64_t length() const { return length_; }
  bool contains(uint64_t offset, uint64_t length) const {
    return offset <= length_ && length <= length_ - offset;
  }

  /// 0 or -errno; -EEXIST if a part of it has memory already.
  int map(Mapping mapping);
  /// The protection that all of a window has (PROT_*), or -EFAULT if a part has no memory.
  int protection(uint64_t offset, uint64_t length);
  /// Map all device memory anew. 0 or -errno.
  int restore();
  /// Keep all memory present and where it is (mlock). 0 or -errno.
  int lock();
  /// Replace all memory by zero pages: lets go of what was mapped, and stays harmless to touch.
  int overlay();

  uint32_t faults();
  /// Not 0 while device memory of the range is lost, until restore(). Lives as long as the process;
  /// nullptr if the range has no device memory.
  std::atomic<uint8_t>* lost();

private:
  Range(uint8_t* base, uint64_t length) : base_(base), length_(length) {}
  int place(const Mapping& mapping);
  bool zero(uint64_t offset, uint64_t length);

  uint8_t* const base_;
  const uint64_t length_;
  std::mutex mutex_;
  std::map<uint64_t, Mapping> mappings_; ///< by offset, without overlap
  sigbus::Guard* guard_ = nullptr;
  /// Somebody else's memory is in a hole that the kernel tore into the reservation: what is not in
  /// mappings_ must not be touched any more.
  bool torn_ = false;
};

/// The ranges of the process by id. Ids are never used twice.
class RangeTable {
public:
  static RangeTable& process();

  /// The id of a new range, with one reference.
  uint64_t add(std::shared_ptr<Range> range);
  /// One more reference, or nullptr if all were given up.
  std::shared_ptr<Range> attach(uint64_t id);
  /// One reference less; the last one overlays the range. 0 or -errno.
  int release(uint64_t id);
  /// Whether there ever was such a range.
  bool issued(uint64_t id);
  /// Keeps the addresses of a range reserved until the process ends.
  void keep(std::shared_ptr<Range> range);

private:
  struct Entry {
    std::shared_ptr<Range> range;
    uint32_t references;
  };
  std::mutex mutex_;
  std::unordered_map<uint64_t, Entry> entries_;
  std::unordered_set<std::shared_ptr<Range>> kept_;
  uint64_t next_ = 1;
};

} // namespace vfio
