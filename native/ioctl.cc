#include "ioctl.h"

#include "environment.h"

#include <cerrno>
#include <sys/ioctl.h>

namespace vfio {

static int64_t callOn(Environment& environment, int fd, uint32_t request, IoctlBuffer& buffer) {
  if (buffer.data() == nullptr)
    return -ENOMEM;
  const auto file = environment.files()->find(fd);
  return file ? resultOf(::ioctl(file->fd(), request, buffer.data())) : -EBADF;
}

static int64_t ioctlValue(Environment& environment, const Arguments& arguments) {
  const auto fd = arguments.int32(0);
  const auto request = arguments.uint32(1);
  const auto value = arguments.uint32(2);
  if (!fd || !request || !value || *value > largestIoctlValue)
    return -EINVAL;
  const auto file = environment.files()->find(*fd);
  return file ? resultOf(::ioctl(file->fd(), *request, static_cast<unsigned long>(*value)))
              : -EBADF;
}

static int64_t ioctlInt(Environment& environment, const Arguments& arguments) {
  const auto fd = arguments.int32(0);
  const auto request = arguments.uint32(1);
  const auto value = arguments.int32(2);
  if (!fd || !request || !value)
    return -EINVAL;
  IoctlBuffer buffer(*request, &*value, sizeof *value);
  return callOn(environment, *fd, *request, buffer);
}

static int64_t ioctlString(Environment& environment, const Arguments& arguments) {
  const auto fd = arguments.int32(0);
  const auto request = arguments.uint32(1);
  const auto text = arguments.text(2);
  if (!fd || !request || !text)
    return -EINVAL;
  IoctlBuffer buffer(*request, text->c_str(), text->size() + 1);
  return callOn(environment, *fd, *request, buffer);
}

static int64_t ioctlStruct(Environment& environment, const Arguments& arguments) {
  const auto fd = arguments.int32(0);
  const auto request = arguments.uint32(1);
  const auto bytes = arguments.bytes(2);
  if (!fd || !request || !bytes)
    return -EINVAL;
  IoctlBuffer buffer(*request, bytes->data, bytes->size);
  if (const int error = checkStruct(buffer, bytes->size); error < 0)
    return error;
  std::optional<size_t> fdAt;
  if (!parseFdOffset(arguments, 3, bytes->size, fdAt))
    return -EINVAL;
  const int64_t result = callOn(environment, *fd, *request, buffer);
  if (fdAt && result >= 0)
    adoptAt(*environment.files(), buffer, *fdAt);
  // Also after an error: a kernel that wants a larger buffer writes the size it wants.
  memcpy(bytes->data, buffer.data(), bytes->size);
  return result;
}

void defineIoctl(Napi::Object exports) {
  define<ioctlValue>(exports, "ioctlValue");
  define<ioctlInt>(exports, "ioctlInt");
  define<ioctlString>(exports, "ioctlString");
  define<ioctlStruct>(exports, "ioctlStruct");
}

} // namespace vfio
