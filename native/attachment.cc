#include "attachment.h"

namespace vfio {

Attachment::~Attachment() {
  napi_handle_scope scope;
  napi_open_handle_scope(env_, &scope);
  for (View* view : views_) {
    view->attachment = nullptr;
    napi_value buffer = nullptr;
    if (napi_get_reference_value(env_, view->buffer, &buffer) == napi_ok && buffer != nullptr)
      napi_detach_arraybuffer(env_, buffer);
  }
  napi_close_handle_scope(env_, scope);
  while (!windows_.empty())
    (*windows_.begin())->close();
}

napi_value Attachment::createView(uint64_t offset, uint64_t length) {
  auto* view = new View{this, range_, nullptr};
  napi_value buffer = nullptr;
  // SAFETY: the view's reference keeps these addresses reserved until onViewCollected.
  if (napi_create_external_arraybuffer(env_, range_->base() + offset, length, onViewCollected, view,
                                       &buffer) != napi_ok) {
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

void Attachment::onViewCollected(napi_env env, void*, void* data) {
  auto* view = static_cast<View*>(data);
  if (view->attachment != nullptr)
    view->attachment->views_.erase(view);
  if (view->buffer != nullptr)
    napi_delete_reference(env, view->buffer);
  delete view;
}

MemoryWindow* Attachment::createWindow(uint64_t offset, uint64_t length, int protection) {
  return new MemoryWindow(range_, offset, length, protection, windows_);
}

} // namespace vfio
