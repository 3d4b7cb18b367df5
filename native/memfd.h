// memfd_create(2) under any policy of the machine.
#pragma once

#include <cerrno>
#include <sys/mman.h>

namespace vfio {

/// A descriptor (close-on-exec), or -1 and errno. Never executable: with vm.memfd_noexec=2 the
/// kernel refuses all others, and before Linux 6.3 it does not know that flag.
inline int createMemfd(const char* name, unsigned flags) {
  constexpr unsigned noExecSeal = 8; // MFD_NOEXEC_SEAL
  const int fd = ::memfd_create(name, flags | MFD_CLOEXEC | noExecSeal);
  return fd < 0 && errno == EINVAL ? ::memfd_create(name, flags | MFD_CLOEXEC) : fd;
}

} // namespace vfio
