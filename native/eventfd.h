// eventfds watched by the event loop of an environment.
#pragma once

#include <functional>
#include <unordered_map>

namespace vfio {

struct Watch;

/// The watches of one environment, by descriptor. The descriptors themselves are in its FileTable.
class WatchTable {
public:
  Watch* find(int fd);
  void add(int fd, Watch* watch);
  /// Stops watching; the listener is not called again. Does nothing if `fd` is not watched.
  void close(int fd);
  /// Closes all; calls `done` when the event loop has let go of the last one.
  void closeAll(std::function<void()> done);
  /// The event loop has let go of a watch.
  void onClosed();

private:
  std::unordered_map<int, Watch*> open_;
  size_t alive_ = 0; ///< open ones and those that the loop is still closing
  std::function<void()> done_;
};

} // namespace vfio
