#include "accessors.h"
#include "environment.h"
#include "file_window.h"
#include "stretch.h"

#include <cerrno>

namespace vfio {

static Napi::Value rangeRegisters(Environment& environment, const Arguments& arguments) {
  const Napi::Env env = arguments.env();
  const auto error = [env](int number) { return Napi::Number::New(env, number); };
  Stretch stretch;
  if (const int result = findStretch(environment, arguments, stretch); result < 0)
    return error(result);
  MemoryWindow* window =
      stretch.attachment->createWindow(stretch.offset, stretch.length, stretch.protection);
  const napi_value accessors = Accessors<MemoryWindow>::create(env, window);
  return accessors == nullptr ? Napi::Value(error(-ENOMEM)) : Napi::Value(env, accessors);
}

static Napi::Value fdRegisters(Environment& environment, const Arguments& arguments) {
  const Napi::Env env = arguments.env();
  const auto error = [env](int number) { return Napi::Number::New(env, number); };
  const auto fd = arguments.int32(0);
  const auto position = arguments.uint53(1);
  const auto length = arguments.uint53(2);
  if (!fd || !position || !length || *length == 0)
    return error(-EINVAL);
  const auto file = environment.files()->find(*fd);
  if (!file)
    return error(-EBADF);
  const napi_value accessors =
      Accessors<FileWindow>::create(env, new FileWindow(*file, *position, *length));
  return accessors == nullptr ? Napi::Value(error(-ENOMEM)) : Napi::Value(env, accessors);
}

void defineRegisters(Napi::Object exports) {
  define<rangeRegisters>(exports, "rangeRegisters");
  define<fdRegisters>(exports, "fdRegisters");
}

} // namespace vfio
