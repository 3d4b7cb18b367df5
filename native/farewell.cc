#include "farewell.h"

#include "environment.h"

#include <cerrno>
#include <sys/ioctl.h>
#include <unistd.h>

namespace vfio {

Farewells::~Farewells() {
  for (const auto& [id, request] : requests_)
    napi_delete_reference(env_, request.memory);
}

uint64_t Farewells::clearBits(std::weak_ptr<File> file, uint64_t position, uint16_t mask) {
  bits_.emplace(next_, Bits{std::move(file), position, mask});
  return next_++;
}

uint64_t Farewells::request(std::weak_ptr<File> file, uint32_t request,
                            std::unique_ptr<IoctlBuffer> argument, napi_value memory) {
  napi_ref reference = nullptr;
  if (napi_create_reference(env_, memory, 1, &reference) != napi_ok)
    return 0;
  requests_.emplace(next_, Request{std::move(file), request, std::move(argument), reference});
  return next_++;
}

bool Farewells::cancel(uint64_t id) {
  const auto found = requests_.find(id);
  if (found == requests_.end())
    return bits_.erase(id) > 0;
  napi_delete_reference(env_, found->second.memory);
  requests_.erase(found);
  return true;
}

static void clear(int fd, uint64_t position, uint16_t mask) {
  uint16_t word = 0;
  const auto at = static_cast<off_t>(position);
  if (::pread(fd, &word, sizeof word, at) != sizeof word || (word & mask) == 0)
    return;
  word &= static_cast<uint16_t>(~mask);
  // Nobody is left to hear of a device that does not answer.
  [[maybe_unused]] const ssize_t written = ::pwrite(fd, &word, sizeof word, at);
}

void Farewells::say() {
  for (const auto& [id, bits] : bits_)
    if (const auto file = File::use(bits.file))
      clear(file->fd(), bits.position, bits.mask);
  bits_.clear();
  for (const auto& [id, request] : requests_)
    if (const auto file = File::use(request.file))
      ::ioctl(file->fd(), request.request, request.argument->data());
  // The memory is kept until the environment is gone.
}

static int64_t farewellClearBits(Environment& environment, const Arguments& arguments) {
  const auto fd = arguments.int32(0);
  const auto position = arguments.uint53(1);
  const auto mask = arguments.uint32(2);
  if (!fd || !position || !mask || *mask > UINT16_MAX)
    return -EINVAL;
  const auto file = environment.files()->find(*fd);
  if (!file)
    return -EBADF;
  return static_cast<int64_t>(
      environment.farewells().clearBits(file, *position, static_cast<uint16_t>(*mask)));
}

static int64_t farewellRequest(Environment& environment, const Arguments& arguments) {
  const auto fd = arguments.int32(0);
  const auto request = arguments.uint32(1);
  const auto bytes = arguments.bytes(2);
  if (!fd || !request || !bytes || !arguments.bytes(3))
    return -EINVAL;
  auto argument = std::make_unique<IoctlBuffer>(*request, bytes->data, bytes->size);
  if (const int error = checkStruct(*argument, bytes->size); error < 0)
    return error;
  const auto file = environment.files()->find(*fd);
  if (!file)
    return -EBADF;
  const uint64_t id =
      environment.farewells().request(file, *request, std::move(argument), arguments[3]);
  return id == 0 ? -ENOMEM : static_cast<int64_t>(id);
}

static int64_t farewellCancel(Environment& environment, const Arguments& arguments) {
  const auto id = arguments.uint53(0);
  if (!id)
    return -EINVAL;
  return environment.farewells().cancel(*id) ? 0 : -ENOENT;
}

void defineFarewells(Napi::Object exports) {
  define<farewellClearBits>(exports, "farewellClearBits");
  define<farewellRequest>(exports, "farewellRequest");
  define<farewellCancel>(exports, "farewellCancel");
}

} // namespace vfio
