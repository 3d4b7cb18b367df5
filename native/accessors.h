// The JavaScript functions on a register window. This is the hot path: each function is bound to
// its window by its callback data, and makes four Node-API calls at most.
#pragma once

#include "register_window.h"

#include <node_api.h>

#include <cstdint>
#include <limits>
#include <type_traits>

namespace vfio {

template <class Window> class Accessors {
public:
  /// An object of functions, which own `window`; nullptr if Node refuses.
  static napi_value create(napi_env env, Window* window) {
    napi_value object = nullptr;
    window->functions = 1; // ours, so that a failure below cannot delete it early
    napi_create_object(env, &object);
    const bool ok = object != nullptr && add(env, object, "read8", read<uint8_t>, window) &&
                    add(env, object, "read16", read<uint16_t>, window) &&
                    add(env, object, "read32", read<uint32_t>, window) &&
                    add(env, object, "read64", read64, window) &&
                    add(env, object, "read64LoHi", read64LoHi, window) &&
                    add(env, object, "readBatch32", readBatch32, window) &&
                    add(env, object, "write8", write<uint8_t>, window) &&
                    add(env, object, "write16", write<uint16_t>, window) &&
                    add(env, object, "write32", write<uint32_t>, window) &&
                    add(env, object, "write64", write64, window) &&
                    add(env, object, "write64LoHi", write64LoHi, window) &&
                    add(env, object, "exchangeRead32", exchangeRead32, window) &&
                    add(env, object, "exchangeWrite32", exchangeWrite32, window) &&
                    add(env, object, "close", close, window) && addExchange(env, object, *window);
    release(env, window, nullptr);
    return ok ? object : nullptr;
  }

private:
  static bool add(napi_env env, napi_value object, const char* name, napi_callback callback,
                  Window* window) {
    napi_value function;
    // SAFETY: the finalizer keeps `window` alive as long as the function that is bound to it.
    if (napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, window, &function) != napi_ok ||
        napi_add_finalizer(env, function, window, release, nullptr, nullptr) != napi_ok)
      return false;
    window->functions++;
    return napi_set_named_property(env, object, name, function) == napi_ok;
  }

  static bool addExchange(napi_env env, napi_value object, const Window& window) {
    auto* kept = new std::shared_ptr<Exchange>(window.exchange);
    napi_value buffer;
    // SAFETY: `kept` holds the memory until the buffer is finalized, and the buffer stays with the
    // one module of the library that makes 32-bit accesses of it: nobody can transfer it. If Node
    // refuses, it may or may not call the finalizer: rather leak than free twice.
    return napi_create_external_arraybuffer(env, kept->get(), sizeof(Exchange), releaseExchange,
                                            kept, &buffer) == napi_ok &&
           napi_set_named_property(env, object, "exchange", buffer) == napi_ok;
  }

  static void releaseExchange(napi_env, void*, void* kept) {
    delete static_cast<std::shared_ptr<Exchange>*>(kept);
  }

  static void release(napi_env, void* data, void*) {
    auto* window = static_cast<Window*>(data);
    if (--window->functions == 0)
      delete window;
  }

  /// The arguments (undefined where missing) and the window of a call.
  template <size_t count>
  static Window* enter(napi_env env, napi_callback_info info, napi_value (&arguments)[count]) {
    size_t given = count;
    void* window;
    napi_get_cb_info(env, info, &given, arguments, nullptr, &window);
    return static_cast<Window*>(window);
  }

  static napi_value status(napi_env env, int64_t error) {
    napi_value value;
    napi_create_int32(env, static_cast<int32_t>(error), &value);
    return value;
  }

  /// Where an access of `width` bytes goes, or -errno.
  static int64_t locate(napi_env env, const Window* window, napi_value argument, unsigned width) {
    double offset;
    if (napi_get_value_double(env, argument, &offset) != napi_ok)
      return window->closed() ? -EBADF : -EINVAL;
    return window->locate(offset, width);
  }

  /// An integer of the width of T, of either sign: -1 is all ones.
  template <class T> static bool integer(napi_env env, napi_value argument, T& value) {
    double number;
    if (napi_get_value_double(env, argument, &number) != napi_ok ||
        !(number >= std::numeric_limits<std::make_signed_t<T>>::min() &&
          number <= std::numeric_limits<T>::max()))
      return false;
    const auto whole = static_cast<int64_t>(number);
    value = static_cast<T>(whole);
    return static_cast<double>(whole) == number;
  }

  /// SAFETY: `data` is valid until control returns to JavaScript.
  static bool words(napi_env env, napi_value argument, uint32_t*& data, size_t& length) {
    napi_typedarray_type type;
    return napi_get_typedarray_info(env, argument, &type, &length, reinterpret_cast<void**>(&data),
                                    nullptr, nullptr) == napi_ok &&
           type == napi_uint32_array;
  }

  template <class T> static napi_value read(napi_env env, napi_callback_info info) {
    napi_value arguments[1];
    const Window* window = enter(env, info, arguments);
    const int64_t offset = locate(env, window, arguments[0], sizeof(T));
    if (offset < 0)
      return status(env, offset);
    T value;
    if (const int error = window->read(offset, value); error < 0)
      return status(env, error);
    napi_value result;
    napi_create_uint32(env, value, &result);
    return result;
  }

  template <class T> static napi_value write(napi_env env, napi_callback_info info) {
    napi_value arguments[2];
    const Window* window = enter(env, info, arguments);
    const int64_t offset = locate(env, window, arguments[0], sizeof(T));
    if (offset < 0)
      return status(env, offset);
    T value;
    if (!integer(env, arguments[1], value))
      return status(env, -EINVAL);
    return status(env, window->write(offset, value));
  }

  static napi_value read64(napi_env env, napi_callback_info info) {
    napi_value arguments[1];
    const Window* window = enter(env, info, arguments);
    const int64_t offset = locate(env, window, arguments[0], sizeof(uint64_t));
    if (offset < 0)
      return status(env, offset);
    uint64_t value;
    if (const int error = window->read(offset, value); error < 0)
      return status(env, error);
    napi_value result;
    napi_create_bigint_uint64(env, value, &result);
    return result;
  }

  static napi_value write64(napi_env env, napi_callback_info info) {
    napi_value arguments[2];
    const Window* window = enter(env, info, arguments);
    const int64_t offset = locate(env, window, arguments[0], sizeof(uint64_t));
    if (offset < 0)
      return status(env, offset);
    uint64_t value;
    int64_t negative;
    bool fits;
    if (napi_get_value_bigint_uint64(env, arguments[1], &value, &fits) != napi_ok)
      return status(env, -EINVAL);
    if (!fits &&
        (napi_get_value_bigint_int64(env, arguments[1], &negative, &fits) != napi_ok || !fits))
      return status(env, -EINVAL);
    return status(env, window->write(offset, value));
  }

  /// Where a pair of 32-bit accesses goes, or -errno; checked as a whole before the first one.
  static int64_t locatePair(napi_env env, const Window* window, napi_value argument) {
    const int64_t low = locate(env, window, argument, sizeof(uint32_t));
    if (low < 0)
      return low;
    const int64_t high = window->locate(static_cast<uint64_t>(low) + 4, sizeof(uint32_t));
    return high < 0 ? high : low;
  }

  static napi_value read64LoHi(napi_env env, napi_callback_info info) {
    napi_value arguments[2];
    const Window* window = enter(env, info, arguments);
    const int64_t offset = locatePair(env, window, arguments[0]);
    if (offset < 0)
      return status(env, offset);
    uint32_t* out;
    size_t length;
    if (!words(env, arguments[1], out, length) || length < 2)
      return status(env, -EINVAL);
    uint32_t low, high;
    int error = window->read(offset, low);
    if (error == 0)
      error = window->read(offset + 4, high);
    if (error < 0)
      return status(env, error);
    out[0] = low;
    out[1] = high;
    return status(env, 0);
  }

  static napi_value write64LoHi(napi_env env, napi_callback_info info) {
    napi_value arguments[3];
    const Window* window = enter(env, info, arguments);
    const int64_t offset = locatePair(env, window, arguments[0]);
    if (offset < 0)
      return status(env, offset);
    uint32_t low, high;
    if (!integer(env, arguments[1], low) || !integer(env, arguments[2], high))
      return status(env, -EINVAL);
    int error = window->write(offset, low);
    if (error == 0)
      error = window->write(offset + 4, high);
    return status(env, error);
  }

  static napi_value readBatch32(napi_env env, napi_callback_info info) {
    napi_value arguments[2];
    const Window* window = enter(env, info, arguments);
    if (window->closed())
      return status(env, -EBADF);
    uint32_t *offsets, *out;
    size_t count, room;
    if (!words(env, arguments[0], offsets, count) || !words(env, arguments[1], out, room) ||
        room < count)
      return status(env, -EINVAL);
    for (size_t i = 0; i < count; i++) {
      if (const int64_t at = window->locate(uint64_t{offsets[i]}, sizeof(uint32_t)); at < 0)
        return status(env, at);
    }
    // Each offset is located again: another thread, or `out` on the same memory, may change it.
    for (size_t i = 0; i < count; i++) {
      const uint64_t offset = *const_cast<const volatile uint32_t*>(&offsets[i]);
      const int64_t at = window->locate(offset, sizeof(uint32_t));
      if (at < 0)
        return status(env, at);
      uint32_t value;
      if (const int error = window->read(at, value); error < 0)
        return status(env, error);
      out[i] = value;
    }
    return status(env, 0);
  }

  /// The window of a call without arguments.
  static Window* enter(napi_env env, napi_callback_info info) {
    void* window;
    napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &window);
    return static_cast<Window*>(window);
  }

  static napi_value exchangeRead32(napi_env env, napi_callback_info info) {
    const Window* window = enter(env, info);
    Exchange& exchange = *window->exchange;
    const int64_t offset = window->locate(uint64_t{exchange.offset}, sizeof(uint32_t));
    uint32_t value = 0;
    exchange.error = static_cast<int32_t>(offset < 0 ? offset : window->read(offset, value));
    exchange.value = value;
    return nullptr; // undefined
  }

  static napi_value exchangeWrite32(napi_env env, napi_callback_info info) {
    const Window* window = enter(env, info);
    Exchange& exchange = *window->exchange;
    const int64_t offset = window->locate(uint64_t{exchange.offset}, sizeof(uint32_t));
    exchange.error =
        static_cast<int32_t>(offset < 0 ? offset : window->write(offset, exchange.value));
    return nullptr; // undefined
  }

  static napi_value close(napi_env env, napi_callback_info info) {
    enter(env, info)->close();
    return nullptr; // undefined
  }
};

} // namespace vfio
