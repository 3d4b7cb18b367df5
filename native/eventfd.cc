#include "environment.h"

#include <cerrno>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace vfio {

/// Freed when the event loop has let go of `poll`.
struct Watch {
  uv_poll_t poll;
  napi_env env;
  WatchTable* table;
  int fd;
  napi_ref listener = nullptr;
  napi_async_context context = nullptr;
};

/// Takes the counter: the count, 0 if it is zero, or -errno.
static int64_t take(int fd) {
  uint64_t count;
  if (::syscall(SYS_read, fd, &count, sizeof count) < 0) // no cancellation point: see FileWindow
    return errno == EAGAIN ? 0 : -errno;
  return static_cast<int64_t>(std::min<uint64_t>(count, INT64_MAX));
}

/// Calls the listener; false if it threw, which becomes an uncaughtException as with any listener
/// in Node, or if there is no calling JavaScript any more.
static bool call(napi_env env, napi_value listener, napi_value global, int64_t count) {
  napi_value argument, ignored;
  // Few, mostly: and an int32 does without floating point.
  const napi_status created = count <= INT32_MAX
                                  ? napi_create_int32(env, static_cast<int32_t>(count), &argument)
                                  : napi_create_int64(env, count, &argument);
  if (created != napi_ok)
    return false;
  const napi_status status = napi_call_function(env, global, listener, 1, &argument, &ignored);
  napi_value error;
  if (status == napi_pending_exception && napi_get_and_clear_last_exception(env, &error) == napi_ok)
    napi_fatal_exception(env, error);
  return status == napi_ok;
}

/// What is signaled while the listener runs, by what it tells the device to do, is told at once:
/// the way round the event loop costs more than the call. After so many, others have their turn.
constexpr int callsInARow = 16;

/// Promises of the listener go on after the last of them.
static void callInARow(napi_env env, const Watch* watch) {
  napi_value listener, global;
  if (napi_get_reference_value(env, watch->listener, &listener) != napi_ok ||
      napi_get_global(env, &global) != napi_ok)
    return;
  // The listener may close the watch, which stays in memory until the loop's next turn.
  const auto* handle = reinterpret_cast<const uv_handle_t*>(&watch->poll);
  for (int calls = 0; calls < callsInARow && !uv_is_closing(handle); calls++) {
    const int64_t count = take(watch->fd);
    if (count <= 0 || !call(env, listener, global, count))
      break;
  }
}

static void onReadable(uv_poll_t* poll, int status, int) {
  const auto* watch = static_cast<Watch*>(poll->data);
  // libuv stops a poll on EPOLLERR, which an eventfd has while its counter is at its maximum.
  if (status < 0)
    uv_poll_start(poll, UV_READABLE, onReadable);
  const napi_env env = watch->env;
  napi_handle_scope scope;
  napi_open_handle_scope(env, &scope);
  napi_callback_scope callbacks;
  if (napi_open_callback_scope(env, nullptr, watch->context, &callbacks) == napi_ok) {
    callInARow(env, watch);
    napi_close_callback_scope(env, callbacks);
  }
  napi_close_handle_scope(env, scope);
}

static void destroy(uv_handle_t* handle) {
  auto* watch = static_cast<Watch*>(handle->data);
  napi_handle_scope scope;
  napi_open_handle_scope(watch->env, &scope);
  if (watch->context != nullptr)
    napi_async_destroy(watch->env, watch->context);
  if (watch->listener != nullptr)
    napi_delete_reference(watch->env, watch->listener);
  napi_close_handle_scope(watch->env, scope);
  WatchTable* table = watch->table;
  delete watch;
  table->onClosed();
}

Watch* WatchTable::find(int fd) {
  const auto found = open_.find(fd);
  return found == open_.end() ? nullptr : found->second;
}

void WatchTable::add(int fd, Watch* watch) {
  open_.emplace(fd, watch);
  alive_++;
}

void WatchTable::close(int fd) {
  const auto found = open_.find(fd);
  if (found == open_.end())
    return;
  // The descriptor may be closed as soon as uv_close has returned, says libuv.
  uv_close(reinterpret_cast<uv_handle_t*>(&found->second->poll), destroy);
  open_.erase(found);
}

void WatchTable::closeAll(std::function<void()> done) {
  done_ = std::move(done);
  while (!open_.empty())
    close(open_.begin()->first);
  if (alive_ == 0)
    done_();
}

void WatchTable::onClosed() {
  if (--alive_ == 0 && done_)
    done_();
}

static int64_t createEventfd(Environment& environment) {
  const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return fd < 0 ? -errno : environment.files()->adopt(fd, FileKind::eventfd);
}

static int64_t eventfdCreate(Environment& environment, const Arguments&) {
  return createEventfd(environment);
}

static int64_t eventfdOpen(Environment& environment, const Arguments& arguments) {
  const napi_env env = arguments.env();
  if (!arguments[0].IsFunction())
    return -EINVAL;
  const int64_t fd = createEventfd(environment);
  if (fd < 0)
    return fd;
  auto* watch = new Watch{{}, env, &environment.watches(), static_cast<int>(fd)};
  if (const int error = uv_poll_init(environment.loop(), &watch->poll, watch->fd); error < 0) {
    delete watch;
    environment.files()->close(static_cast<int>(fd));
    return error;
  }
  watch->poll.data = watch;
  environment.watches().add(watch->fd, watch);
  napi_value name;
  napi_create_string_utf8(env, "vfio.eventfd", NAPI_AUTO_LENGTH, &name);
  if (napi_create_reference(env, arguments[0], 1, &watch->listener) != napi_ok ||
      napi_async_init(env, nullptr, name, &watch->context) != napi_ok ||
      uv_poll_start(&watch->poll, UV_READABLE, onReadable) < 0) {
    environment.watches().close(watch->fd);
    environment.files()->close(static_cast<int>(fd));
    return -ENOMEM;
  }
  return fd;
}

/// The eventfd that the first argument names, or -errno.
static int64_t findEventfd(Environment& environment, const Arguments& arguments,
                           std::shared_ptr<File>& file) {
  const auto fd = arguments.int32(0);
  if (!fd)
    return -EINVAL;
  file = environment.files()->find(*fd);
  return file && file->kind() == FileKind::eventfd ? 0 : -EBADF;
}

static int64_t eventfdWrite(Environment& environment, const Arguments& arguments) {
  const auto count = arguments.uint53(1);
  if (!count)
    return -EINVAL;
  std::shared_ptr<File> file;
  if (const int64_t error = findEventfd(environment, arguments, file); error < 0)
    return error;
  const uint64_t value = *count;
  return ::write(file->fd(), &value, sizeof value) < 0 ? -errno : 0;
}

static int64_t eventfdRead(Environment& environment, const Arguments& arguments) {
  std::shared_ptr<File> file;
  const int64_t error = findEventfd(environment, arguments, file);
  return error < 0 ? error : take(file->fd());
}

template <auto uvCall>
static int64_t onWatch(Environment& environment, const Arguments& arguments) {
  const auto fd = arguments.int32(0);
  if (!fd)
    return -EINVAL;
  Watch* watch = environment.watches().find(*fd);
  if (watch == nullptr)
    return -EBADF;
  uvCall(reinterpret_cast<uv_handle_t*>(&watch->poll));
  return 0;
}

static int64_t eventfdClose(Environment& environment, const Arguments& arguments) {
  const auto fd = arguments.int32(0);
  if (!fd)
    return -EINVAL;
  const auto file = environment.files()->find(*fd);
  if (!file)
    return 0;
  if (file->kind() != FileKind::eventfd)
    return -EBADF;
  environment.watches().close(*fd);
  return environment.files()->close(*fd);
}

void defineEventfd(Napi::Object exports) {
  define<eventfdOpen>(exports, "eventfdOpen");
  define<eventfdCreate>(exports, "eventfdCreate");
  define<eventfdWrite>(exports, "eventfdWrite");
  define<eventfdRead>(exports, "eventfdRead");
  define<onWatch<uv_ref>>(exports, "eventfdRef");
  define<onWatch<uv_unref>>(exports, "eventfdUnref");
  define<eventfdClose>(exports, "eventfdClose");
}

} // namespace vfio
