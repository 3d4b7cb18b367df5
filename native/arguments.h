// JavaScript arguments as native values. Nothing is converted: a value of another type, a fraction,
// NaN or a number out of range is "no value", which the callers answer with -EINVAL.
#pragma once

#include <napi.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>

namespace vfio {

/// The memory of a Uint8Array.
/// SAFETY: valid only until control returns to JavaScript, which may detach or collect it.
struct Bytes {
  uint8_t* data;
  size_t size;
};

/// The bytes of `value` if it is a Uint8Array that is not detached.
inline std::optional<Bytes> bytesOf(napi_env env, napi_value value) {
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  napi_value buffer;
  if (napi_get_typedarray_info(env, value, &type, &length, &data, &buffer, nullptr) != napi_ok ||
      type != napi_uint8_array)
    return std::nullopt;
  bool detached = false;
  if (napi_is_detached_arraybuffer(env, buffer, &detached) != napi_ok || detached)
    return std::nullopt;
  return Bytes{static_cast<uint8_t*>(data), length};
}

class Arguments {
public:
  explicit Arguments(const Napi::CallbackInfo& info) : info_(info) {}

  Napi::Env env() const { return info_.Env(); }
  Napi::Value operator[](size_t index) const { return info_[index]; }

  std::optional<int32_t> int32(size_t index) const {
    return integer<int32_t>(index, std::numeric_limits<int32_t>::min(),
                            std::numeric_limits<int32_t>::max());
  }

  std::optional<uint32_t> uint32(size_t index) const {
    return integer<uint32_t>(index, 0, std::numeric_limits<uint32_t>::max());
  }

  /// A size, an offset or an id: 0 .. 2^53 - 1, the integers that a double holds exactly.
  std::optional<uint64_t> uint53(size_t index) const {
    return integer<uint64_t>(index, 0, 9007199254740991.0);
  }

  /// A string without embedded NUL, fit to be a C string.
  std::optional<std::string> text(size_t index) const {
    const Napi::Value value = info_[index];
    if (!value.IsString())
      return std::nullopt;
    std::string text = value.As<Napi::String>().Utf8Value();
    if (text.find('\0') != std::string::npos)
      return std::nullopt;
    return text;
  }

  std::optional<Bytes> bytes(size_t index) const { return bytesOf(info_.Env(), info_[index]); }

private:
  template <class T> std::optional<T> integer(size_t index, double least, double most) const {
    const Napi::Value value = info_[index];
    if (!value.IsNumber())
      return std::nullopt;
    const double number = value.As<Napi::Number>().DoubleValue();
    if (!(number >= least && number <= most) || number != std::trunc(number))
      return std::nullopt;
    return static_cast<T>(number);
  }

  const Napi::CallbackInfo& info_;
};

} // namespace vfio
