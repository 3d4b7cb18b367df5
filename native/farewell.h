// What an environment that ends does to its devices before their memory goes. An environment can
// end without a close (a worker is terminated), and its descriptors may live on in other hands (a
// thread that attached a BAR, a duplicate that was handed over): a device would go on to write to
// memory that belongs to somebody else by then.
#pragma once

#include "file.h"
#include "ioctl.h"

#include <node_api.h>

#include <cstdint>
#include <map>
#include <memory>
#include <unordered_map>

namespace vfio {

class Farewells {
public:
  explicit Farewells(napi_env env) : env_(env) {}
  ~Farewells();
  Farewells(const Farewells&) = delete;
  Farewells& operator=(const Farewells&) = delete;

  /// Clears the bits of `mask` in the 16-bit word at `position` of the file, such as bus master.
  uint64_t clearBits(std::weak_ptr<File> file, uint64_t position, uint16_t mask);
  /// Makes the request, such as one that unmaps; and keeps `memory` alive until then. 0 if Node
  /// refuses.
  uint64_t request(std::weak_ptr<File> file, uint32_t request,
                   std::unique_ptr<IoctlBuffer> argument, napi_value memory);
  /// Lets go of the memory. False if there is no such farewell.
  bool cancel(uint64_t id);
  /// All of them, where the file is still open: devices are stopped first, then memory is unmapped.
  void say();

private:
  struct Bits {
    std::weak_ptr<File> file;
    uint64_t position;
    uint16_t mask;
  };
  struct Request {
    std::weak_ptr<File> file;
    uint32_t request;
    std::unique_ptr<IoctlBuffer> argument;
    napi_ref memory;
  };

  const napi_env env_;
  std::map<uint64_t, Bits> bits_;
  std::unordered_map<uint64_t, Request> requests_;
  uint64_t next_ = 1;
};

} // namespace vfio
