#include "environment.h"

namespace vfio {

bool Environment::create(napi_env env) {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok)
    return false;
  auto* environment = new Environment(env, loop);
  const auto destroy = [](napi_env, void* self, void*) { delete static_cast<Environment*>(self); };
  if (napi_set_instance_data(env, environment, destroy, nullptr) != napi_ok) {
    delete environment;
    return false;
  }
  // An asynchronous hook, because closing a uv handle takes a turn of the loop: an environment that
  // ends with a live uv_poll aborts the process. The hook keeps `env`, and so this object, until it
  // is removed.
  return napi_add_async_cleanup_hook(env, onEnd, environment, nullptr) == napi_ok;
}

Environment& Environment::of(napi_env env) {
  void* self = nullptr;
  napi_get_instance_data(env, &self);
  // SAFETY: set in create(), before any function of the addon exists, and deleted after the last
  // JavaScript of this environment has run.
  return *static_cast<Environment*>(self);
}

void Environment::onEnd(napi_async_cleanup_hook_handle hook, void* self) {
  auto* environment = static_cast<Environment*>(self);
  // SAFETY: Node has waited for the ioctls on its thread pool, so that no mapping comes after this.
  environment->farewells_.say();
  while (!environment->attachments_.empty())
    environment->releaseAttachment(environment->attachments_.begin()->first);
  environment->watches_.closeAll([environment, hook] {
    environment->files_->closeAll();
    napi_remove_async_cleanup_hook(hook);
  });
}

Attachment* Environment::attachment(uint64_t range) {
  const auto found = attachments_.find(range);
  return found == attachments_.end() ? nullptr : found->second.get();
}

void Environment::addAttachment(uint64_t range, std::shared_ptr<Range> memory) {
  attachments_.emplace(range, std::make_unique<Attachment>(env_, std::move(memory)));
}

int Environment::releaseAttachment(uint64_t range) {
  if (attachments_.erase(range) == 0)
    return 0;
  return RangeTable::process().release(range);
}

} // namespace vfio
