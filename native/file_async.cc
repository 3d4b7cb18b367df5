// close(2) on the thread pool: the last close of a device includes its reset.
#include "environment.h"

#include <cerrno>

namespace vfio {

namespace {

struct Closing {
  std::shared_ptr<File> file;
  napi_async_work work = nullptr;
  napi_deferred deferred = nullptr;
};

} // namespace

static void settle(napi_env env, napi_deferred deferred, int64_t result) {
  napi_value value;
  if (napi_create_int64(env, result, &value) == napi_ok)
    napi_resolve_deferred(env, deferred, value);
}

/// On a thread of the pool.
static void execute(napi_env, void* data) { static_cast<Closing*>(data)->file.reset(); }

/// On the environment's thread, also while the environment is torn down.
static void complete(napi_env env, napi_status, void* data) {
  const std::unique_ptr<Closing> closing(static_cast<Closing*>(data));
  settle(env, closing->deferred, 0);
  napi_delete_async_work(env, closing->work);
}

static Napi::Value closeAsync(Environment& environment, const Arguments& arguments) {
  const Napi::Env env = arguments.env();
  auto closing = std::make_unique<Closing>();
  napi_value promise = nullptr;
  if (napi_create_promise(env, &closing->deferred, &promise) != napi_ok)
    return Napi::Value();
  const auto fd = arguments.int32(0);
  if (fd)
    environment.watches().close(*fd);
  closing->file = fd ? environment.files()->take(*fd) : nullptr;
  napi_value name;
  if (!closing->file) {
    settle(env, closing->deferred, fd ? -EBADF : -EINVAL);
  } else if (napi_create_string_utf8(env, "vfio.close", NAPI_AUTO_LENGTH, &name) != napi_ok ||
             napi_create_async_work(env, nullptr, name, execute, complete, closing.get(),
                                    &closing->work) != napi_ok) {
    settle(env, closing->deferred, 0); // closed here and now instead
  } else {
    // SAFETY: complete() takes ownership back; Node calls it exactly once for queued work.
    napi_queue_async_work(env, closing.release()->work);
  }
  return Napi::Value(env, promise);
}

void defineAsyncFiles(Napi::Object exports) { define<closeAsync>(exports, "closeAsync"); }

} // namespace vfio
