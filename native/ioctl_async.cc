// ioctl(2) on the thread pool.
#include "environment.h"
#include "ioctl.h"

#include <cerrno>
#include <sys/ioctl.h>

namespace vfio {

namespace {

/// One ioctl under way. It holds the file, so that close() meanwhile waits for it.
struct Work {
  std::shared_ptr<File> file;
  uint32_t request;
  /// Exactly one of these is the argument.
  std::unique_ptr<IoctlBuffer> buffer;
  uint32_t value = 0;
  /// Who owns a descriptor that the ioctl gives; nullptr if it gives none.
  std::shared_ptr<FileTable> adopter;
  /// Where in the struct it is; without, it is the result.
  std::optional<size_t> fdAt;
  /// Where the struct is copied back to.
  napi_ref bytes = nullptr;
  size_t size = 0;

  int64_t result = -ECANCELED;
  napi_async_work work = nullptr;
  napi_deferred deferred = nullptr;
};

} // namespace

static void settle(napi_env env, napi_deferred deferred, int64_t result) {
  napi_value value;
  if (napi_create_int64(env, result, &value) == napi_ok)
    napi_resolve_deferred(env, deferred, value);
}

/// On the thread of the ioctl: should the environment end before it hears of the descriptor, it has
/// it.
static void adoptDescriptor(Work& work) {
  if (work.fdAt)
    adoptAt(*work.adopter, *work.buffer, *work.fdAt);
  else
    work.result = work.adopter->adopt(static_cast<int>(work.result));
}

/// On a thread of the pool.
static void execute(napi_env, void* data) {
  auto* work = static_cast<Work*>(data);
  const auto argument = work->buffer ? reinterpret_cast<unsigned long>(work->buffer->data())
                                     : static_cast<unsigned long>(work->value);
  work->result = resultOf(::ioctl(work->file->fd(), work->request, argument));
  if (work->adopter && work->result >= 0)
    adoptDescriptor(*work);
  work->file.reset();
}

static void copyBack(napi_env env, const Work& work) {
  napi_value array = nullptr;
  if (napi_get_reference_value(env, work.bytes, &array) != napi_ok || array == nullptr)
    return;
  const auto bytes = bytesOf(env, array);
  if (bytes && bytes->size == work.size)
    memcpy(bytes->data, work.buffer->data(), work.size);
}

/// On the environment's thread, also when the environment is being torn down: then JavaScript calls
/// fail, and all that is left is to free.
static void complete(napi_env env, napi_status, void* data) {
  const std::unique_ptr<Work> work(static_cast<Work*>(data));
  if (work->bytes != nullptr) {
    copyBack(env, *work);
    napi_delete_reference(env, work->bytes);
  }
  settle(env, work->deferred, work->result);
  napi_delete_async_work(env, work->work);
}

/// Hands `work` to the thread pool. False if Node refuses.
static bool queue(napi_env env, Work& work) {
  napi_value name;
  if (napi_create_string_utf8(env, "vfio.ioctl", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_async_work(env, nullptr, name, execute, complete, &work, &work.work) != napi_ok)
    return false;
  if (napi_queue_async_work(env, work.work) == napi_ok)
    return true;
  napi_delete_async_work(env, work.work);
  return false;
}

/// A promise of the result of `work`, or of `error` if that is not 0.
static Napi::Value start(napi_env env, std::unique_ptr<Work> work, int error) {
  napi_value promise = nullptr;
  if (napi_create_promise(env, &work->deferred, &promise) != napi_ok)
    return Napi::Value();
  if (error == 0 && !work->file)
    error = -EBADF;
  if (error == 0 && !queue(env, *work))
    error = -ENOMEM;
  if (error == 0) {
    work.release(); // complete() frees it
  } else {
    if (work->bytes != nullptr)
      napi_delete_reference(env, work->bytes);
    settle(env, work->deferred, error);
  }
  return Napi::Value(env, promise);
}

/// The part that all have in common. 0 or -EINVAL.
static int prepare(Environment& environment, const Arguments& arguments, Work& work) {
  const auto fd = arguments.int32(0);
  const auto request = arguments.uint32(1);
  if (!fd || !request)
    return -EINVAL;
  work.file = environment.files()->find(*fd);
  work.request = *request;
  return 0;
}

static Napi::Value ioctlValueAsync(Environment& environment, const Arguments& arguments) {
  auto work = std::make_unique<Work>();
  int error = prepare(environment, arguments, *work);
  const auto value = arguments.uint32(2);
  if (!value || *value > largestIoctlValue)
    error = -EINVAL;
  else
    work->value = *value;
  return start(arguments.env(), std::move(work), error);
}

static Napi::Value ioctlStructAsync(Environment& environment, const Arguments& arguments) {
  auto work = std::make_unique<Work>();
  int error = prepare(environment, arguments, *work);
  const auto bytes = arguments.bytes(2);
  if (!bytes)
    error = -EINVAL;
  if (error == 0) {
    work->buffer = std::make_unique<IoctlBuffer>(work->request, bytes->data, bytes->size);
    work->size = bytes->size;
    error = checkStruct(*work->buffer, bytes->size);
  }
  if (error == 0 && !parseFdOffset(arguments, 3, bytes->size, work->fdAt))
    error = -EINVAL;
  if (work->fdAt)
    work->adopter = environment.files();
  if (error == 0 &&
      napi_create_reference(arguments.env(), arguments[2], 1, &work->bytes) != napi_ok)
    error = -ENOMEM;
  return start(arguments.env(), std::move(work), error);
}

static Napi::Value ioctlStringFdAsync(Environment& environment, const Arguments& arguments) {
  auto work = std::make_unique<Work>();
  int error = prepare(environment, arguments, *work);
  const auto text = arguments.text(2);
  if (!text)
    error = -EINVAL;
  if (error == 0) {
    work->buffer = std::make_unique<IoctlBuffer>(work->request, text->c_str(), text->size() + 1);
    work->adopter = environment.files();
    if (work->buffer->data() == nullptr)
      error = -ENOMEM;
  }
  return start(arguments.env(), std::move(work), error);
}

void defineAsyncIoctl(Napi::Object exports) {
  define<ioctlStructAsync>(exports, "ioctlStructAsync");
  define<ioctlValueAsync>(exports, "ioctlValueAsync");
  define<ioctlStringFdAsync>(exports, "ioctlStringFdAsync");
}

} // namespace vfio
