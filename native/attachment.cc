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
  auto* view = new View{env_, this, range_, nullptr, false};
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
  napi_add_env_cleanup_hook(env_, onEnvironmentEnd, view);
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

void Attachment::onViewCollected(napi_env env, void*, void* data) {
  auto* view = static_cast<View*>(data);
  if (view->attachment != nullptr)
    view->attachment->views_.erase(view);
  if (view->buffer != nullptr)
    napi_delete_reference(env, view->buffer);
  napi_remove_env_cleanup_hook(env, onEnvironmentEnd, view);
  delete view;
}

/// Node finalizes all buffers of an environment that ends, even if the backing store lives on in
/// another one, to which JavaScript has transferred it. Cleanup hooks run last in first out, so
/// this one comes before Node's of the same buffer.
void Attachment::onEnvironmentEnd(void* data) {
  auto* view = static_cast<View*>(data);
  if (view->attachment != nullptr)
    detach(*view);
  // SAFETY: a view that may still be in use must never see its addresses given to something else;
  // nobody will tell us when it is gone, so they stay reserved (not backed by memory) for good.
  if (!view->detached)
    new std::shared_ptr<Range>(view->range);
}

MemoryWindow* Attachment::createWindow(uint64_t offset, uint64_t length, int protection) {
  return new MemoryWindow(range_, offset, length, protection, windows_);
}

} // namespace vfio
