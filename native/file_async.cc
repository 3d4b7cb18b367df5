// close(2) on the thread pool: the last close of a device includes its reset.
#include "environment.h"

#include <cerrno>
#include <memory>
#include <mutex>

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

namespace {

/// From the thread that closes a file to its environment's, as long as there is one.
class Notice {
public:
  explicit Notice(napi_deferred deferred) : deferred_(deferred) {}

  /// Has `deferred` resolved once `file` is closed. False if Node refuses.
  static bool send(napi_env env, napi_value name, napi_deferred deferred, File& file) {
    const auto notice = std::make_shared<Notice>(deferred);
    // SAFETY: deleted by onGone, which Node calls exactly once for a function that it has made.
    auto* held = new std::shared_ptr<Notice>(notice);
    if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, held, onGone, held,
                                        onCall, &notice->function_) != napi_ok) {
      delete held;
      return false;
    }
    file.whenClosed([notice] { notice->fire(); });
    return true;
  }

private:
  /// On any thread, also when the environment has ended: Node 20 frees the function then, whoever
  /// still holds it.
  void fire() {
    const std::lock_guard lock(mutex_);
    if (function_ == nullptr)
      return;
    if (napi_call_threadsafe_function(function_, nullptr, napi_tsfn_nonblocking) != napi_closing)
      napi_release_threadsafe_function(function_, napi_tsfn_release);
    function_ = nullptr;
  }

  /// On the environment's thread; without `env` while that is torn down.
  static void onCall(napi_env env, napi_value, void* held, void*) {
    if (env != nullptr)
      settle(env, (*static_cast<std::shared_ptr<Notice>*>(held))->deferred_, 0);
  }

  /// On the environment's thread, before the function is freed.
  static void onGone(napi_env, void* held, void*) {
    const std::unique_ptr<std::shared_ptr<Notice>> notice(
        static_cast<std::shared_ptr<Notice>*>(held));
    const std::lock_guard lock((*notice)->mutex_);
    (*notice)->function_ = nullptr;
  }

  std::mutex mutex_;
  napi_threadsafe_function function_ = nullptr;
  const napi_deferred deferred_;
};

} // namespace

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
  if (!Notice::send(env, name, deferred, *release->file))
    settle(env, deferred, -ENOMEM);
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
