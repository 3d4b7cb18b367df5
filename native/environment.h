// What one environment (the main thread or a worker) owns. All of it is let go when it ends, in
// whatever way it ends.
#pragma once

#include "arguments.h"
#include "attachment.h"
#include "eventfd.h"
#include "farewell.h"
#include "file.h"

#include <napi.h>
#include <uv.h>

#include <memory>
#include <unordered_map>

namespace vfio {

class Environment {
public:
  /// Creates the environment's state as the addon's instance data. False if Node refuses.
  static bool create(napi_env env);
  static Environment& of(napi_env env);

  napi_env env() const { return env_; }
  uv_loop_t* loop() const { return loop_; }
  const std::shared_ptr<FileTable>& files() const { return files_; }
  WatchTable& watches() { return watches_; }
  Farewells& farewells() { return farewells_; }

  /// This environment's reference to a range, or nullptr.
  Attachment* attachment(uint64_t range);
  void addAttachment(uint64_t range, std::shared_ptr<Range> memory);
  /// 0, or -errno of the overlay if this was the last reference. 0 if there is none.
  int releaseAttachment(uint64_t range);

private:
  Environment(napi_env env, uv_loop_t* loop) : env_(env), loop_(loop), farewells_(env) {}
  static void onEnd(napi_async_cleanup_hook_handle hook, void* self);

  const napi_env env_;
  uv_loop_t* const loop_;
  // Shared with ioctls on the thread pool, which may outlive the environment.
  const std::shared_ptr<FileTable> files_ = std::make_shared<FileTable>();
  WatchTable watches_;
  Farewells farewells_;
  std::unordered_map<uint64_t, std::unique_ptr<Attachment>> attachments_;
};

/// A function of the addon: JavaScript arguments in, a value or -errno out.
template <auto function> Napi::Value invoke(const Napi::CallbackInfo& info) {
  const Arguments arguments(info);
  const auto result = function(Environment::of(info.Env()), arguments);
  if constexpr (std::is_base_of_v<Napi::Value, decltype(result)>)
    return result;
  else
    return Napi::Number::New(info.Env(), static_cast<double>(result));
}

template <auto function> void define(Napi::Object exports, const char* name) {
  exports.Set(name, Napi::Function::New<invoke<function>>(exports.Env(), name));
}

/// -errno for a failed system call, else its result.
template <class T> int64_t resultOf(T result) { return result < 0 ? -errno : result; }

void defineFiles(Napi::Object exports);
void defineAsyncFiles(Napi::Object exports);
void defineIoctl(Napi::Object exports);
void defineAsyncIoctl(Napi::Object exports);
void definePreparedIoctl(Napi::Object exports);
void defineRanges(Napi::Object exports);
void defineRegisters(Napi::Object exports);
void defineEventfd(Napi::Object exports);
void defineFarewells(Napi::Object exports);

} // namespace vfio
