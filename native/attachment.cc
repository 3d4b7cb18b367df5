#include "attachment.h"

namespace vfio {

/// Whether the environment is being torn down: Node then refuses calls that may run JavaScript.
static bool isEnding(napi_env env) {
  napi_handle_scope scope;
  napi_open_handle_scope(env, &scope);
  napi_value value;
  const bool running = napi_get_undefined(env, &value) == napi_ok &&
                       napi_coerce_to_bool(env, value, &value) == napi_ok;
  napi_close_handle_scope(env, scope);
  return !running;
}

Attachment::~Attachment() {
  const bool ending = isEnding(env_);
  for (View* view : views_) {
    view->attachment = nullptr;
    view->here = isHere(*view) && (ending || detach(*view));
  }
  while (!windows_.empty())
    (*windows_.begin())->close();
}

napi_value Attachment::createView(uint64_t offset, uint64_t length) {
  return createBuffer(range_->base() + offset, length);
}

napi_value Attachment::createLostView() {
  static_assert(sizeof(std::atomic<uint8_t>) == 1);
  // SAFETY: the flag is never freed, so that a view that escaped stays harmless to touch.
  return createBuffer(range_->lost(), 1);
}

napi_value Attachment::createBuffer(void* data, uint64_t length) {
  auto* view = new View{env_, this, range_, nullptr, false};
  napi_value buffer = nullptr;
  // SAFETY: the view's reference keeps these addresses reserved until onViewCollected.
  if (napi_create_external_arraybuffer(env_, data, length, onViewCollected, view, &buffer) !=
      napi_ok) {
    // Node may or may not call the finalizer of a buffer it failed to make: rather leak than free
    // twice.
    view->attachment = nullptr;
    napi_get_and_clear_last_exception(env_, &buffer);
    return nullptr;
  }
  views_.insert(view);
  napi_create_reference(env_, buffer, 0, &view->buffer);
  return buffer;
}

/// What node:worker_threads says: from Node 24 on, to detach a buffer marked as untransferable ends
/// the process. False where there is no such question, as before Node 22.3, which detaches any.
static bool isUntransferable(napi_env env, napi_value buffer) {
  napi_value value;
  napi_value process;
  napi_value name;
  bool marked = false;
  if (napi_get_global(env, &value) != napi_ok ||
      napi_get_named_property(env, value, "process", &process) != napi_ok ||
      napi_get_named_property(env, process, "getBuiltinModule", &value) != napi_ok ||
      napi_create_string_utf8(env, "worker_threads", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_call_function(env, process, value, 1, &name, &process) != napi_ok ||
      napi_get_named_property(env, process, "isMarkedAsUntransferable", &value) != napi_ok ||
      napi_call_function(env, process, value, 1, &buffer, &value) != napi_ok ||
      napi_get_value_bool(env, value, &marked) != napi_ok)
    napi_get_and_clear_last_exception(env, &value);
  return marked;
}

/// Whether the buffer has not been transferred, so that its backing store is nowhere else.
bool Attachment::isHere(const View& view) {
  napi_handle_scope scope;
  napi_open_handle_scope(view.env, &scope);
  napi_value buffer = nullptr;
  bool detached = false;
  const bool here =
      napi_get_reference_value(view.env, view.buffer, &buffer) == napi_ok && buffer != nullptr &&
      napi_is_detached_arraybuffer(view.env, buffer, &detached) == napi_ok && !detached;
  napi_close_handle_scope(view.env, scope);
  return here;
}

/// False for what cannot be detached, which stays a view of zero pages.
bool Attachment::detach(const View& view) {
  napi_handle_scope scope;
  napi_open_handle_scope(view.env, &scope);
  napi_value buffer = nullptr;
  const bool detached = napi_get_reference_value(view.env, view.buffer, &buffer) == napi_ok &&
                        !isUntransferable(view.env, buffer) &&
                        napi_detach_arraybuffer(view.env, buffer) == napi_ok;
  napi_close_handle_scope(view.env, scope);
  return detached;
}

void Attachment::onViewCollected(napi_env env, void*, void* data) {
  auto* view = static_cast<View*>(data);
  if (view->attachment != nullptr)
    view->attachment->views_.erase(view);
  if (view->buffer != nullptr)
    napi_delete_reference(env, view->buffer);
  // Node finalizes all buffers of an environment that ends, even one that JavaScript has
  // transferred and whose backing store lives on elsewhere. SAFETY: nobody will tell when that
  // store is gone, so its addresses must stay reserved for good; they are not backed by memory.
  if (!view->here && isEnding(env))
    RangeTable::process().keep(view->range);
  delete view;
}

MemoryWindow* Attachment::createWindow(uint64_t offset, uint64_t length, int protection) {
  return new MemoryWindow(range_, offset, length, protection, windows_);
}

} // namespace vfio
