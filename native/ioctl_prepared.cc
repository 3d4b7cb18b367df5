// ioctl(2) with an argument that is written once, for requests that are made again and again.
#include "environment.h"
#include "ioctl.h"

#include <cerrno>
#include <sys/ioctl.h>
#include <vector>

namespace vfio {

namespace {

struct PreparedIoctl {
  ThreadFile file;
  uint32_t request;
  std::vector<uint8_t> bytes;
};

} // namespace

/// Each call gives the kernel a copy, as it may write to its argument.
static napi_value callPrepared(napi_env env, napi_callback_info info) {
  void* data = nullptr;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
  // SAFETY: the function's finalizer deletes it, and this is a call of the function.
  const auto& prepared = *static_cast<const PreparedIoctl*>(data);
  IoctlBuffer buffer(prepared.request, prepared.bytes.data(), prepared.bytes.size());
  const int64_t result =
      buffer.data() == nullptr
          ? -ENOMEM
          : resultOf(::ioctl(prepared.file.fd(), prepared.request, buffer.data()));
  napi_value value;
  napi_create_int32(env, static_cast<int32_t>(result), &value);
  return value;
}

static void destroy(napi_env, void* data, void*) { delete static_cast<PreparedIoctl*>(data); }

static Napi::Value ioctlPrepare(Environment& environment, const Arguments& arguments) {
  const Napi::Env env = arguments.env();
  const auto error = [env](int number) { return Napi::Number::New(env, number); };
  const auto fd = arguments.int32(0);
  const auto request = arguments.uint32(1);
  const auto bytes = arguments.bytes(2);
  if (!fd || !request || !bytes)
    return error(-EINVAL);
  IoctlBuffer buffer(*request, bytes->data, bytes->size);
  if (const int result = checkStruct(buffer, bytes->size); result < 0)
    return error(result);
  const auto file = environment.files()->find(*fd);
  if (!file)
    return error(-EBADF);
  auto prepared = std::make_unique<PreparedIoctl>(PreparedIoctl{
      ThreadFile(*file), *request, std::vector<uint8_t>(bytes->data, bytes->data + bytes->size)});
  napi_value function;
  if (napi_create_function(env, "ioctl", NAPI_AUTO_LENGTH, callPrepared, prepared.get(),
                           &function) != napi_ok ||
      napi_add_finalizer(env, function, prepared.get(), destroy, nullptr, nullptr) != napi_ok)
    return error(-ENOMEM);
  prepared.release(); // destroy() frees it
  return Napi::Value(env, function);
}

void definePreparedIoctl(Napi::Object exports) { define<ioctlPrepare>(exports, "ioctlPrepare"); }

} // namespace vfio
