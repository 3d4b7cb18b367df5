// close(2) on the thread pool: the last close of a device includes its reset.
#include "environment.h"

#include <cerrno>

namespace vfio {

static void settle(napi_env env, napi_deferred deferred, int64_t result) {
  napi_value value;
  if (napi_create_int64(env, result, &value) == napi_ok)
    napi_resolve_deferred(env, deferred, value);
}

namespace {

/// The reference of a descriptor that is to be closed: given up on the pool. The kernel may have it
/// back later still, as soon as an ioctl under way returns.
struct Release {
  std::shared_ptr<File> file;
  napi_async_work work = nullptr;
};

} // namespace

/// On a thread of the pool.
static void execute(napi_env, void* data) { static_cast<Release*>(data)->file.reset(); }

/// On the environment's thread, also while the environment is torn down.
static void complete(napi_env env, napi_status, void* data) {
  const std::unique_ptr<Release> release(static_cast<Release*>(data));
  napi_delete_async_work(env, release->work);
}

/// On the environment's thread; without `env` while that is torn down.
static void onClosed(napi_env env, napi_value, void* deferred, void*) {
  if (env != nullptr)
    settle(env, static_cast<napi_deferred>(deferred), 0);
}

/// From the thread that closes the file, to the environment's. nullptr if Node refuses.
static napi_threadsafe_function createNotice(napi_env env, napi_value name,
                                             napi_deferred deferred) {
  napi_threadsafe_function notice = nullptr;
  if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, deferred,
                                      onClosed, &notice) != napi_ok)
    return nullptr;
  return notice;
}

static Napi::Value closeAsync(Environment& environment, const Arguments& arguments) {
  const Napi::Env env = arguments.env();
  napi_deferred deferred = nullptr;
  napi_value promise = nullptr;
  napi_value name = nullptr;
  if (napi_create_promise(env, &deferred, &promise) != napi_ok ||
      napi_create_string_utf8(env, "vfio.close", NAPI_AUTO_LENGTH, &name) != napi_ok)
    return Napi::Value();
  const auto fd = arguments.int32(0);
  if (fd)
    environment.watches().close(*fd);
  auto release = std::make_unique<Release>();
  release->file = fd ? environment.files()->take(*fd) : nullptr;
  if (!release->file) {
    settle(env, deferred, fd ? -EBADF : -EINVAL);
    return Napi::Value(env, promise);
  }
  if (const auto notice = createNotice(env, name, deferred)) {
    // SAFETY: the one reference of `notice` is given up here, once; until then Node keeps it, also
    // when the environment has ended, and answers the call with napi_closing.
    release->file->whenClosed([notice] {
      if (napi_call_threadsafe_function(notice, nullptr, napi_tsfn_nonblocking) != napi_closing)
        napi_release_threadsafe_function(notice, napi_tsfn_release);
    });
  } else {
    settle(env, deferred, -ENOMEM);
  }
  if (napi_create_async_work(env, nullptr, name, execute, complete, release.get(),
                             &release->work) == napi_ok) {
    // SAFETY: complete() takes ownership back; Node calls it exactly once for queued work. What
    // Node refuses is closed here and now instead.
    if (napi_queue_async_work(env, release->work) == napi_ok)
      release.release();
    else
      napi_delete_async_work(env, release->work);
  }
  return Napi::Value(env, promise);
}

void defineAsyncFiles(Napi::Object exports) { define<closeAsync>(exports, "closeAsync"); }

} // namespace vfio
