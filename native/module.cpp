// Python bindings of the integer primitives. Callers hand over contiguous arrays of the right type; shapes that do
// not fit each other are refused here, so that no call can read outside its arrays.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>

#include <array>
#include <memory>
#include <optional>
#include <stdexcept>

#include "kernels.hpp"

namespace nb = nanobind;
using spica::Image;
using spica::Window;

namespace {

using Pair = std::array<int, 2>;
template <class T, int Rank>
using In = nb::ndarray<const T, nb::ndim<Rank>, nb::c_contig, nb::device::cpu>;
using Channels = std::optional<In<std::int64_t, 1>>;
template <class T>
using Out = nb::ndarray<nb::numpy, T, nb::ndim<4>>;

void require(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(what);
}

template <class A>
Image image(const A& a) {
  return {static_cast<std::int64_t>(a.shape(0)), static_cast<std::int64_t>(a.shape(1)),
          static_cast<std::int64_t>(a.shape(2)), static_cast<std::int64_t>(a.shape(3))};
}

// Size of the image that a window slides out of `in`.
Image slide(Image in, Window window, Pair vertical, Pair horizontal, std::int64_t channels) {
  require(window.stride_h > 0 && window.stride_w > 0 && vertical[0] >= 0 && vertical[1] >= 0 && horizontal[0] >= 0 &&
              horizontal[1] >= 0,
          "strides must be positive and padding not negative");
  const std::int64_t h = in.h + vertical[0] + vertical[1] - window.kh, w = in.w + horizontal[0] + horizontal[1] - window.kw;
  require(window.kh > 0 && window.kw > 0 && h >= 0 && w >= 0, "the window does not fit the image");
  return {in.n, h / window.stride_h + 1, w / window.stride_w + 1, channels};
}

template <class T>
Out<T> make(Image shape, T*& data) {
  auto owner = std::make_unique<T[]>(shape.size());
  data = owner.get();
  nb::capsule free(owner.release(), [](void* p) noexcept { delete[] static_cast<T*>(p); });
  return Out<T>(data,
                {static_cast<std::size_t>(shape.n), static_cast<std::size_t>(shape.h),
                 static_cast<std::size_t>(shape.w), static_cast<std::size_t>(shape.c)},
                free);
}

template <class Acc>
Out<Acc> convolve(In<std::int32_t, 4> x, In<Acc, 4> kernel, Pair strides, Pair vertical, Pair horizontal,
                  In<std::int32_t, 1> fill, int threads) {
  const Image in = image(x), shape = image(kernel);  // kernel: kh, kw, C, F
  require(shape.w == in.c && static_cast<std::int64_t>(fill.shape(0)) == in.c, "channels of kernel, fill and image differ");
  const Window window{static_cast<int>(shape.n), static_cast<int>(shape.h), strides[0], strides[1], vertical[0], horizontal[0]};
  const Image out = slide(in, window, vertical, horizontal, shape.c);
  Acc* acc;
  auto result = make<Acc>(out, acc);
  nb::gil_scoped_release release;
  spica::convolve<Acc>(x.data(), in, kernel.data(), fill.data(), window, acc, out, threads);
  return result;
}

template <class Acc>
Out<Acc> depthwise(In<std::int32_t, 4> x, In<Acc, 3> kernel, Pair strides, Pair vertical, Pair horizontal, int threads) {
  const Image in = image(x);
  require(static_cast<std::int64_t>(kernel.shape(2)) == in.c, "channels of kernel and image differ");
  const Window window{static_cast<int>(kernel.shape(0)), static_cast<int>(kernel.shape(1)), strides[0], strides[1],
                      vertical[0], horizontal[0]};
  const Image out = slide(in, window, vertical, horizontal, in.c);
  Acc* acc;
  auto result = make<Acc>(out, acc);
  nb::gil_scoped_release release;
  spica::convolve_depthwise<Acc>(x.data(), in, kernel.data(), window, acc, out, threads);
  return result;
}

const std::int64_t* channels(const Channels& values, Image in) {
  if (!values) return nullptr;
  require(static_cast<std::int64_t>(values->shape(0)) == in.c, "a channel parameter has the wrong length");
  return values->data();
}

template <class Acc>
nb::object finish(In<Acc, 4> acc, Channels bias, Channels ceiling, Channels multiplier, Channels shift, Pair size,
                  Pair strides, Pair vertical, Pair horizontal, int value_bits, bool relu, bool average, int buffer_bits,
                  std::int64_t low, std::int64_t high, bool wide, int threads) {
  const Image in = image(acc);
  require(multiplier.has_value() == shift.has_value(), "multiplier and shift come together");
  require(value_bits > 0 && value_bits < 63 && buffer_bits > 0 && buffer_bits < 63, "buffers hold 1 to 62 bits");
  const Window pool{size[0], size[1], strides[0], strides[1], vertical[0], horizontal[0]};
  const Image pooled = slide(in, pool, vertical, horizontal, in.c);
  const Image out = average ? Image{in.n, 1, 1, in.c} : pooled;
  const spica::Stage stage{channels(bias, in),  channels(ceiling, in), channels(multiplier, in), channels(shift, in), pool,
                           value_bits,          buffer_bits,           relu,                     average,             low, high};
  auto compute = [&]<class T>(T*) {
    T* y;
    auto result = make<T>(out, y);
    {
      nb::gil_scoped_release release;
      spica::finish<Acc, T>(acc.data(), in, stage, y, out, threads);
    }
    return nb::cast(result);
  };
  return wide ? compute(static_cast<std::int64_t*>(nullptr)) : compute(static_cast<std::int32_t*>(nullptr));
}

}  // namespace

NB_MODULE(_native, m) {
  m.doc() = "Integer primitives of the native engine";
  m.def("convolve32", &convolve<std::int32_t>);
  m.def("convolve64", &convolve<std::int64_t>);
  m.def("depthwise32", &depthwise<std::int32_t>);
  m.def("depthwise64", &depthwise<std::int64_t>);
  m.def("finish32", &finish<std::int32_t>, nb::arg("acc"), nb::arg("bias").none(), nb::arg("ceiling").none(),
        nb::arg("multiplier").none(), nb::arg("shift").none(), nb::arg("size"), nb::arg("strides"), nb::arg("vertical"),
        nb::arg("horizontal"), nb::arg("value_bits"), nb::arg("relu"), nb::arg("average"), nb::arg("buffer_bits"),
        nb::arg("low"), nb::arg("high"), nb::arg("wide"), nb::arg("threads"));
  m.def("finish64", &finish<std::int64_t>, nb::arg("acc"), nb::arg("bias").none(), nb::arg("ceiling").none(),
        nb::arg("multiplier").none(), nb::arg("shift").none(), nb::arg("size"), nb::arg("strides"), nb::arg("vertical"),
        nb::arg("horizontal"), nb::arg("value_bits"), nb::arg("relu"), nb::arg("average"), nb::arg("buffer_bits"),
        nb::arg("low"), nb::arg("high"), nb::arg("wide"), nb::arg("threads"));
}
