// One environment's reference to a range, with the views and register windows that JavaScript got
// through it.
#pragma once

#include "memory_window.h"
#include "range.h"

#include <node_api.h>

#include <memory>
#include <unordered_set>

namespace vfio {

class Attachment {
public:
  Attachment(napi_env env, std::shared_ptr<Range> range) : env_(env), range_(std::move(range)) {}
  /// Detaches the views and closes the windows.
  ~Attachment();
  Attachment(const Attachment&) = delete;
  Attachment& operator=(const Attachment&) = delete;

  Range& range() { return *range_; }

  /// An ArrayBuffer over the range's memory, or nullptr if Node refuses. The caller has checked
  /// bounds and protection.
  napi_value createView(uint64_t offset, uint64_t length);

  /// An ArrayBuffer of one byte: whether device memory of the range is lost. nullptr as above.
  napi_value createLostView();

  /// A window for register accessors, as above. Owned by its accessors.
  MemoryWindow* createWindow(uint64_t offset, uint64_t length, int protection);

private:
  /// An ArrayBuffer. It keeps the addresses reserved until its backing store is freed, which may be
  /// long after it was detached: the store moves on when JavaScript transfers the buffer.
  struct View {
    napi_env env;
    Attachment* attachment; ///< nullptr once released
    std::shared_ptr<Range> range;
    napi_ref buffer; ///< weak
    bool here; ///< once released: no JavaScript can transfer the backing store elsewhere any more
  };
  napi_value createBuffer(void* data, uint64_t length);
  static bool isHere(const View& view);
  static bool detach(const View& view);
  static void onViewCollected(napi_env env, void* data, void* view);

  const napi_env env_;
  const std::shared_ptr<Range> range_;
  std::unordered_set<View*> views_;
  MemoryWindow::Set windows_;
};

} // namespace vfio
