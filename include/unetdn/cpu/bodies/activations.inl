// SPDX-License-Identifier: Apache-2.0
// ReLU and sigmoid of runs of elements. Included by bodies/all.inl.

template <class T> void relu_of_run(T const* x, T* y, std::int64_t elements) {
  each_vector<T>(elements, [&](std::int64_t i, int count) UNETDN_INLINE_LAMBDA {
    vec<T> const v = load_part(x + i, count);
    store_part(y + i, v < T(0) ? vec<T>{} : v, count);  // this way round a NaN stays
  });
}

template <class T> void relu_gradient_of_run(T const* y, T const* dy, T* dx, std::int64_t elements) {
  each_vector<T>(elements, [&](std::int64_t i, int count) UNETDN_INLINE_LAMBDA {
    store_part(dx + i, load_part(y + i, count) <= T(0) ? vec<T>{} : load_part(dy + i, count), count);
  });
}

/// What the exponential needs to know of a type.
template <class T> struct exponential_of;
template <> struct exponential_of<float> {
  static constexpr int mantissa = 23, bias = 127, degree = 7;
  static constexpr float lowest = -87.3f, highest = 89.f;  // whose results are normal, and infinite
  static constexpr float round = 0x1.8p23f;                // adding it rounds to a whole number
};
template <> struct exponential_of<double> {
  static constexpr int mantissa = 52, bias = 1023, degree = 13;
  static constexpr double lowest = -708.3, highest = 710.;
  static constexpr double round = 0x1.8p52;
};

/// 1 / k!
template <class T> struct exponential_series {
  T of[exponential_of<T>::degree + 1];
  constexpr exponential_series() : of{1} {
    for (int k = 1; k <= exponential_of<T>::degree; ++k) of[k] = of[k - 1] / T(k);
  }
};
template <class T> inline constexpr exponential_series<T> taylor{};

/// e^v to a few roundings: 2^n times the Taylor series of e^r, v = n ln 2 + r with |r| <= ln(2) / 2. It stops at the
/// lowest normal number, and is infinite half a power of two early; NaN stays.
template <class T> UNETDN_ALWAYS_INLINE vec<T> exponential(vec<T> v) {
  using type = exponential_of<T>;
  v = v < type::lowest ? broadcast(type::lowest) : v;
  v = v > type::highest ? broadcast(type::highest) : v;
  // Divided by ln 2; what is added and taken away again must not cancel before it has rounded.
  vec<T> const shifted = rounded<T>(rounded<T>(v * T(1.44269504088896340736)) + type::round);
  vec<T> const n = shifted - type::round;
  // ln 2 in two parts, of which the first has so few bits that n times it is exact.
  vec<T> const r = (v - n * T(0.693145751953125)) - n * T(1.42860682030941723212e-6);
  vec<T> sum = broadcast(taylor<T>.of[type::degree]);
  UNETDN_UNROLL_TILE
  for (int k = type::degree - 1; k >= 0; --k) sum = sum * r + taylor<T>.of[k];
  bits<T> const exponent = (bits<T>)shifted - (bits<T>)broadcast(type::round) + type::bias;
  return sum * (vec<T>)(exponent << type::mantissa);
}

template <class T> void sigmoid_of_run(T const* x, T* y, std::int64_t elements) {
  each_vector<T>(elements, [&](std::int64_t i, int count) UNETDN_INLINE_LAMBDA {
    store_part(y + i, T(1) / (T(1) + exponential<T>(-load_part(x + i, count))), count);
  });
}

template <class T> void sigmoid_gradient_of_run(T const* y, T const* dy, T* dx, std::int64_t elements) {
  each_vector<T>(elements, [&](std::int64_t i, int count) UNETDN_INLINE_LAMBDA {
    vec<T> const s = load_part(y + i, count);
    store_part(dx + i, load_part(dy + i, count) * s * (T(1) - s), count);
  });
}
