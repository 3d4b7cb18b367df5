// The stretch of a range that a call is about.
#pragma once

#include "environment.h"

#include <cerrno>

namespace vfio {

struct Stretch {
  Attachment* attachment;
  uint64_t offset;
  uint64_t length;
  int protection; ///< of all of it, PROT_*
};

/// From a call's first arguments: range, offset, length. 0 or -errno: EINVAL, EBADF (no such range
/// here), ERANGE (not inside it), or what Range::protection says.
inline int findStretch(Environment& environment, const Arguments& arguments, Stretch& stretch) {
  const auto id = arguments.uint53(0);
  const auto offset = arguments.uint53(1);
  const auto length = arguments.uint53(2);
  if (!id || !offset || !length || *length == 0)
    return -EINVAL;
  Attachment* attachment = environment.attachment(*id);
  if (attachment == nullptr)
    return -EBADF;
  if (!attachment->range().contains(*offset, *length))
    return -ERANGE;
  const int protection = attachment->range().protection(*offset, *length);
  if (protection < 0)
    return protection;
  stretch = {attachment, *offset, *length, protection};
  return 0;
}

} // namespace vfio
