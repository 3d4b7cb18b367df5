#include "attachment.h"

namespace vfio {

Attachment::~Attachment() {
  for (View* view : views_) {
    view->attachment = nullptr;
    detach(*view);
  }
  while (!windows_.empty())
    (*windows_.begin())->close();
}

napi_value Attachment::createView(uint64_t offset, uint64_t length) {
  return createBuffer(range_->base() + offset, length);
}

napi_value Attachment::createLostView() {
  static_assert(sizeof(std::atomic<bool>) == 1);
  // SAFETY: the flag is static memory, so that a view that escaped stays harmless to touch.
  auto* flag = const_cast<std::atomic<bool>*>(&range_->lost());
  return createBuffer(flag, 1);
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

void Attachment::detach(View& view) {
  napi_handle_scope scope;
  napi_open_handle_scope(view.env, &scope);
  napi_value buffer = nullptr;
  bool transferred = false;
  if (napi_get_reference_value(view.env, view.buffer, &buffer) == napi_ok && buffer != nullptr &&
      napi_is_detached_arraybuffer(view.env, buffer, &transferred) == napi_ok && !transferred)
    view.detached = napi_detach_arraybuffer(view.env, buffer) == napi_ok;
  napi_close_handle_scope(view.env, scope);
}

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

void Attachment::onViewCollected(napi_env env, void*, void* data) {
  auto* view = static_cast<View*>(data);
  if (view->attachment != nullptr)
    view->attachment->views_.erase(view);
  if (view->buffer != nullptr)
    napi_delete_reference(env, view->buffer);
  // Node finalizes all buffers of an environment that ends, even one that JavaScript has
  // transferred and whose backing store lives on elsewhere. SAFETY: nobody will tell when that
  // store is gone, so its addresses must stay reserved for good; they are not backed by memory.
  if (!view->detached && isEnding(env))
    RangeTable::process().keep(view->range);
  delete view;
}

MemoryWindow* Attachment::createWindow(uint64_t offset, uint64_t length, int protection) {
  return new MemoryWindow(range_, offset, length, protection, windows_);
}

} // namespace vfio
