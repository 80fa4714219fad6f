// Reads, writes and counts a tensor's values, and brings samples into the arena and out of it.
#include "tensor.hpp"

#include <algorithm>
#include <cstring>

namespace spica {
namespace {

// Calls work() with the array's data as a pointer of its type.
template <class Work>
void with_type(const Array& a, Work work) {
  switch (a.bytes * 2 + a.is_signed) {
    case 2: return work(static_cast<std::uint8_t*>(a.data));
    case 3: return work(static_cast<std::int8_t*>(a.data));
    case 4: return work(static_cast<std::uint16_t*>(a.data));
    case 5: return work(static_cast<std::int16_t*>(a.data));
    case 8: return work(static_cast<std::uint32_t*>(a.data));
    case 9: return work(static_cast<std::int32_t*>(a.data));
    case 16: return work(static_cast<std::uint64_t*>(a.data));
    case 17: return work(static_cast<std::int64_t*>(a.data));
  }
}

}  // namespace

std::int32_t decode(const Tensor& t, const std::uint8_t* pixel, std::int64_t c) {
  if (t.planes == 0) {
    std::int32_t v;
    std::memcpy(&v, pixel + c * 4, sizeof v);
    return v;
  }
  std::uint32_t v = 0;
  for (int p = t.planes; p-- > 0;) v = v << 8 | pixel[p * t.plane() + c];
  return static_cast<std::int32_t>(v + static_cast<std::uint32_t>(t.zero));
}

void encode(const Tensor& t, std::uint8_t* pixel, std::int64_t c, std::int32_t value) {
  if (t.planes == 0) {
    std::memcpy(pixel + c * 4, &value, sizeof value);
    return;
  }
  const std::uint32_t v = static_cast<std::uint32_t>(value) - static_cast<std::uint32_t>(t.zero);
  for (int p = 0; p < t.planes; ++p) pixel[p * t.plane() + c] = static_cast<std::uint8_t>(v >> (8 * p));
}

void fill_border(const Frame& frame, const Tensor& t, int part, int parts) {
  if (!t.bordered()) return;
  const int rows = t.h + t.top + t.bottom, columns = t.w + t.left + t.right;
  const bool plain = t.planes == 1 && t.fill.empty();
  const auto fill = [&](std::uint8_t* row, int first, int last) {
    if (plain) {
      std::memset(row + first * t.pixel(), -t.zero, static_cast<std::size_t>((last - first) * t.pixel()));
      return;
    }
    for (int x = first; x < last; ++x)
      for (int c = 0; c < t.c; ++c) encode(t, row + x * t.pixel(), c, t.fill.empty() ? 0 : t.fill[c]);
  };
  for (std::int64_t unit = part; unit < std::int64_t{frame.samples} * rows; unit += parts) {
    const int y = static_cast<int>(unit % rows);
    std::uint8_t* row = frame.at(t, static_cast<int>(unit / rows)) + y * t.row();
    if (y < t.top || y >= t.top + t.h) {
      fill(row, 0, columns);
    } else {
      fill(row, 0, t.left);
      fill(row, t.left + t.w, columns);
    }
  }
}

std::int64_t count_events(const Tensor& t, const std::uint8_t* pixel, int pixels, int first, int channels) {
  if (t.planes == 1 && channels == t.c)
    return isa().count(pixel, std::ptrdiff_t{pixels} * channels, static_cast<std::uint8_t>(-t.zero));
  std::int64_t total = 0;
  for (int i = 0; i < pixels; ++i, pixel += t.pixel())
    if (t.planes == 1) total += isa().count(pixel + first, channels, static_cast<std::uint8_t>(-t.zero));
    else
      for (int c = first; c < first + channels; ++c) total += decode(t, pixel, c) != 0;
  return total;
}

void load_samples(const Frame& frame, const Tensor& t, const Array& array, int first_sample, int part, int parts) {
  fill_border(frame, t, part, parts);
  const std::int64_t width = std::int64_t{t.w} * t.c;
  with_type(array, [&]<class T>(const T* data) {
    for (std::int64_t unit = part; unit < std::int64_t{frame.samples} * t.h; unit += parts) {
      const int n = static_cast<int>(unit / t.h), y = static_cast<int>(unit % t.h);
      const T* from = data + ((std::int64_t{first_sample} + n) * t.h + y) * width;
      std::uint8_t* to = frame.origin(t, n) + y * t.row();
      if (t.planes == 1 && sizeof(T) == 1) {  // a row's pixels follow each other, and bytes wrap
        const auto* bytes = reinterpret_cast<const std::uint8_t*>(from);
        const auto zero = static_cast<std::uint8_t>(t.zero);
        for (std::int64_t i = 0; i < width; ++i) to[i] = static_cast<std::uint8_t>(bytes[i] - zero);
      } else if (t.planes == 1) {
        for (std::int64_t i = 0; i < width; ++i)
          to[i] = static_cast<std::uint8_t>(static_cast<std::int32_t>(from[i]) - t.zero);
      } else {
        for (std::int64_t i = 0; i < width; ++i) encode(t, to, i, static_cast<std::int32_t>(from[i]));
      }
    }
  });
}

void store_samples(const Frame& frame, const Tensor& t, const Real& real, const Array& array, int first_sample,
                   int part, int parts) {
  const std::int64_t width = std::int64_t{t.w} * t.c;
  const auto rows = [&]<class T>(T* data, auto store_row) {
    for (std::int64_t unit = part; unit < std::int64_t{frame.samples} * t.h; unit += parts) {
      const int n = static_cast<int>(unit / t.h), y = static_cast<int>(unit % t.h);
      store_row(data + ((std::int64_t{first_sample} + n) * t.h + y) * width, frame.origin(t, n) + y * t.row());
    }
  };
  const auto store = [&]<class T>(T* data, auto convert) {
    rows(data, [&](T* to, const std::uint8_t* from) {
      for (int x = 0; x < t.w; ++x, from += t.pixel(), to += t.c)
        if (t.planes == 0) {
          const auto* words = reinterpret_cast<const std::int32_t*>(from);  // tensors of words begin on whole lines
          for (int c = 0; c < t.c; ++c) to[c] = convert(words[c], c);
        } else if (t.planes == 1) {
          for (int c = 0; c < t.c; ++c) to[c] = convert(from[c] + t.zero, c);
        } else {
          for (int c = 0; c < t.c; ++c) to[c] = convert(decode(t, from, c), c);
        }
    });
  };
  const auto store_bytes = [&](std::uint8_t* data) {  // a row's pixels follow each other, and bytes wrap
    rows(data, [&](std::uint8_t* to, const std::uint8_t* from) {
      for (std::int64_t i = 0; i < width; ++i) to[i] = static_cast<std::uint8_t>(from[i] + t.zero);
    });
  };
  if (array.is_float) {
    store(static_cast<float*>(array.data),
          [power = real.power.data(), scale = real.scale.data()](std::int32_t v, int c) {
            return static_cast<float>(v) * power[c] * scale[c];
          });
  } else {
    with_type(array, [&]<class T>(T* data) {
      if (t.planes == 1 && sizeof(T) == 1) return store_bytes(reinterpret_cast<std::uint8_t*>(data));
      store(data, [](std::int32_t v, int) { return static_cast<T>(v); });
    });
  }
}

}  // namespace spica
