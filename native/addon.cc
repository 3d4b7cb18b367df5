// The addon's table of contents. node-addon-api where it reads better; plain Node-API on the hot
// path and wherever the wrapper would throw or abort (finalizers, cleanup hooks, completions).
#include "environment.h"

#include <unistd.h>

static_assert(sizeof(void*) == 8, "vfio needs a 64-bit machine: 64-bit registers take one access");

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  if (!vfio::Environment::create(env)) {
    Napi::Error::New(env, "vfio: this environment does not support native addons")
        .ThrowAsJavaScriptException();
    return exports;
  }
  exports.Set("pageSize", Napi::Number::New(env, sysconf(_SC_PAGESIZE)));
  vfio::defineFiles(exports);
  vfio::defineAsyncFiles(exports);
  vfio::defineIoctl(exports);
  vfio::defineAsyncIoctl(exports);
  vfio::definePreparedIoctl(exports);
  vfio::defineRanges(exports);
  vfio::defineRegisters(exports);
  vfio::defineEventfd(exports);
  vfio::defineFarewells(exports);
  return exports;
}

NODE_API_MODULE(vfio, init)
