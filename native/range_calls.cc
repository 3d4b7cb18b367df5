// What JavaScript can do with ranges.
#include "environment.h"
#include "stretch.h"

#include <cerrno>
#include <sys/mman.h>
#include <unistd.h>

namespace vfio {

static bool pageAligned(uint64_t value) {
  static const uint64_t mask = static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) - 1;
  return (value & mask) == 0;
}

static int64_t rangeReserve(Environment& environment, const Arguments& arguments) {
  const auto length = arguments.uint53(0);
  const auto alignment = arguments.uint53(1);
  if (!length || *length == 0 || !pageAligned(*length) || !alignment || *alignment == 0 ||
      !pageAligned(*alignment) || (*alignment & (*alignment - 1)) != 0)
    return -EINVAL;
  std::shared_ptr<Range> range = Range::reserve(*length, *alignment);
  if (!range)
    return -errno;
  const uint64_t id = RangeTable::process().add(range);
  environment.addAttachment(id, std::move(range));
  return static_cast<int64_t>(id);
}

static int64_t rangeMap(Environment& environment, const Arguments& arguments) {
  const auto id = arguments.uint53(0);
  const auto offset = arguments.uint53(1);
  const auto length = arguments.uint53(2);
  const auto memory = arguments.uint32(3);
  const auto protection = arguments.uint32(4);
  if (!id || !offset || !pageAligned(*offset) || !length || *length == 0 || !pageAligned(*length) ||
      !memory || *memory > static_cast<uint32_t>(Memory::device) || !protection ||
      *protection == 0 || (*protection & ~(PROT_READ | PROT_WRITE)) != 0)
    return -EINVAL;
  Attachment* attachment = environment.attachment(*id);
  if (attachment == nullptr)
    return -EBADF;
  if (!attachment->range().contains(*offset, *length))
    return -ERANGE;
  Mapping mapping{*offset, *length, static_cast<Memory>(*memory), static_cast<int>(*protection),
                  {},      0};
  if (mapping.memory != Memory::anonymous) {
    const auto fd = arguments.int32(5);
    const auto fileOffset = arguments.uint53(6);
    if (!fd || !fileOffset || !pageAligned(*fileOffset))
      return -EINVAL;
    mapping.file = environment.files()->find(*fd);
    mapping.fileOffset = *fileOffset;
  }
  return attachment->range().map(std::move(mapping));
}

static int64_t rangeAttach(Environment& environment, const Arguments& arguments) {
  const auto id = arguments.uint53(0);
  if (!id)
    return -EINVAL;
  if (environment.attachment(*id) != nullptr)
    return 0;
  std::shared_ptr<Range> range = RangeTable::process().attach(*id);
  if (!range)
    return -EBADF;
  environment.addAttachment(*id, std::move(range));
  return 0;
}

static int64_t rangeRelease(Environment& environment, const Arguments& arguments) {
  const auto id = arguments.uint53(0);
  if (!id)
    return -EINVAL;
  return RangeTable::process().issued(*id) ? environment.releaseAttachment(*id) : -EBADF;
}

static Napi::Value rangeAddress(Environment& environment, const Arguments& arguments) {
  const auto id = arguments.uint53(0);
  if (!id)
    return Napi::Number::New(arguments.env(), -EINVAL);
  Attachment* attachment = environment.attachment(*id);
  if (attachment == nullptr)
    return Napi::Number::New(arguments.env(), -EBADF);
  return Napi::BigInt::New(arguments.env(), reinterpret_cast<uint64_t>(attachment->range().base()));
}

/// A call on a range without further arguments.
template <auto call> static int64_t onRange(Environment& environment, const Arguments& arguments) {
  const auto id = arguments.uint53(0);
  if (!id)
    return -EINVAL;
  Attachment* attachment = environment.attachment(*id);
  return attachment == nullptr ? -EBADF : static_cast<int64_t>((attachment->range().*call)());
}

static Napi::Value rangeBuffer(Environment& environment, const Arguments& arguments) {
  const Napi::Env env = arguments.env();
  const auto error = [env](int number) { return Napi::Number::New(env, number); };
  Stretch stretch;
  if (const int result = findStretch(environment, arguments, stretch); result < 0)
    return error(result);
  if (stretch.length > UINT32_MAX)
    return error(-E2BIG); // the longest ArrayBuffer of Node 20
  if (stretch.protection != (PROT_READ | PROT_WRITE))
    return error(-EACCES); // JavaScript has no read-only ArrayBuffers: a store would be SIGSEGV
  const napi_value buffer = stretch.attachment->createView(stretch.offset, stretch.length);
  return buffer == nullptr ? Napi::Value(error(-ENOMEM)) : Napi::Value(env, buffer);
}

static Napi::Value rangeLost(Environment& environment, const Arguments& arguments) {
  const Napi::Env env = arguments.env();
  const auto id = arguments.uint53(0);
  Attachment* attachment = id ? environment.attachment(*id) : nullptr;
  if (attachment == nullptr)
    return Napi::Number::New(env, id ? -EBADF : -EINVAL);
  if (attachment->range().lost() == nullptr)
    return Napi::Number::New(env, -ENXIO);
  const napi_value buffer = attachment->createLostView();
  return buffer == nullptr ? Napi::Value(Napi::Number::New(env, -ENOMEM))
                           : Napi::Value(env, buffer);
}

/// Only of shared memory, which JavaScript can neither detach nor move: the address is good as long
/// as the array is alive.
static Napi::Value memoryAddress(Environment&, const Arguments& arguments) {
  const napi_env env = arguments.env();
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  napi_value buffer;
  bool exclusive = true;
  if (napi_get_typedarray_info(env, arguments[0], &type, &length, &data, &buffer, nullptr) !=
          napi_ok ||
      type != napi_uint8_array || napi_is_arraybuffer(env, buffer, &exclusive) != napi_ok ||
      exclusive)
    return Napi::Number::New(env, -EINVAL);
  return Napi::BigInt::New(env, reinterpret_cast<uint64_t>(data));
}

static int64_t sigbusRearm(Environment&, const Arguments&) {
  sigbus::rearm();
  return 0;
}

void defineRanges(Napi::Object exports) {
  define<rangeReserve>(exports, "rangeReserve");
  define<rangeMap>(exports, "rangeMap");
  define<rangeAttach>(exports, "rangeAttach");
  define<rangeRelease>(exports, "rangeRelease");
  define<rangeAddress>(exports, "rangeAddress");
  define<onRange<&Range::length>>(exports, "rangeLength");
  define<rangeBuffer>(exports, "rangeBuffer");
  define<onRange<&Range::faults>>(exports, "rangeFaults");
  define<rangeLost>(exports, "rangeLost");
  define<onRange<&Range::lock>>(exports, "rangeLock");
  define<onRange<&Range::restore>>(exports, "rangeRestore");
  define<memoryAddress>(exports, "memoryAddress");
  define<sigbusRearm>(exports, "sigbusRearm");
}

} // namespace vfio
