// SPDX-License-Identifier: Apache-2.0
// The loss, row by row, and the separable filter in it. Included by bodies/all.inl.

/// Two vectors at once: a tap is then broadcast once for both, and their sums hide each other's latency.
template <class T> void filter_rows(T const* taps, T const* const* rows, int count, T* to, std::int64_t elements) {
  constexpr int width = 2 * lanes<T>;
  std::int64_t i = 0;
  for (; i + width <= elements; i += width) {
    vec<T> low{}, high{};
    for (int t = 0; t < count; ++t) {
      vec<T> const tap = broadcast(taps[t]);
      low += tap * load(rows[t] + i);
      high += tap * load(rows[t] + i + lanes<T>);
    }
    store(to + i, low);
    store(to + i + lanes<T>, high);
  }
  for (; i < elements; i += lanes<T>) {
    int const left = static_cast<int>(std::min<std::int64_t>(lanes<T>, elements - i));
    vec<T> sum{};
    for (int t = 0; t < count; ++t) sum += broadcast(taps[t]) * load_part(rows[t] + i, left);
    store_part(to + i, sum, left);
  }
}

/// a^2 + b^2 and a b.
template <class T> void multiply_rows(T const* a, T const* b, T* squares, T* product, std::int64_t elements) {
  for (std::int64_t i = 0; i < elements; i += lanes<T>) {
    int const count = static_cast<int>(std::min<std::int64_t>(lanes<T>, elements - i));
    vec<T> const p = load_part(a + i, count), q = load_part(b + i, count);
    store_part(squares + i, p * p + q * q, count);
    store_part(product + i, p * q, count);
  }
}

/// As many doubles as a vector has lanes of T.
template <class T> struct doubles_of { typedef double type __attribute__((vector_size(lanes<T> * sizeof(double)))); };
template <class T> using doubles = typename doubles_of<T>::type;

template <class T> double sum_of_lanes(doubles<T> const& v) {
  double sum = 0;
  for (int lane = 0; lane < lanes<T>; ++lane) sum += v[lane];
  return sum;
}

template <class T> double differentiate_ssim(ssim_row<T> const& job) {
  constexpr T c1 = T(0.01 * 0.01), c2 = T(0.03 * 0.03);
  doubles<T> sum{};
  for (std::int64_t i = 0; i < job.elements; i += lanes<T>) {
    int const count = static_cast<int>(std::min<std::int64_t>(lanes<T>, job.elements - i));
    vec<T> const ma = load_part(job.mean_a + i, count), mb = load_part(job.mean_b + i, count);
    vec<T> const a1 = T(2) * ma * mb + c1, a2 = T(2) * (load_part(job.product + i, count) - ma * mb) + c2;
    vec<T> const b1 = ma * ma + mb * mb + c1, b2 = load_part(job.squares + i, count) - ma * ma - mb * mb + c2;
    vec<T> const inverse = T(1) / (b1 * b2);
    vec<T> s = a1 * a2 * inverse;
    store_part(job.by_mean + i, T(2) * (mb * (a2 - a1) * inverse + ma * s * ((b1 - b2) * inverse)), count);
    store_part(job.by_squares + i, -s * b1 * inverse, count);
    store_part(job.by_product + i, T(2) * a1 * inverse, count);
    for (int lane = count; lane < lanes<T>; ++lane) s[lane] = 0;
    sum += __builtin_convertvector(s, doubles<T>);
  }
  return sum_of_lanes<T>(sum);
}

template <class T> void collect_ssim(ssim_adjoint<T> const& job) {
  for (std::int64_t i = 0; i < job.elements; i += lanes<T>) {
    int const count = static_cast<int>(std::min<std::int64_t>(lanes<T>, job.elements - i));
    vec<T> const twice_a = T(2) * load_part(job.a + i, count), b = load_part(job.b + i, count);
    vec<T> const sum = load_part(job.by_mean + i, count) + twice_a * load_part(job.by_squares + i, count) +
                       b * load_part(job.by_product + i, count);
    store_part(job.gradient + i, job.scale * sum, count);
  }
}

template <class T> double compare_rows(loss_row<T> const& job) {
  vec<T> const step = broadcast(job.step), zero{};
  doubles<T> const none{};
  doubles<T> sum{};
  for (std::int64_t i = 0; i < job.elements; i += lanes<T>) {
    int const count = static_cast<int>(std::min<std::int64_t>(lanes<T>, job.elements - i));
    vec<T> const difference = load_part(job.y + i, count) - load_part(job.target + i, count);
    doubles<T> const d = __builtin_convertvector(difference, doubles<T>);
    vec<T> gradient;
    if (job.squared) {
      sum += d * d;
      gradient = step * difference;
    } else {
      sum += d < none ? -d : d;
      gradient = (difference > zero ? step : zero) - (difference < zero ? step : zero);
    }
    if (job.ssim) gradient -= job.ssim_weight * load_part(job.ssim + i, count);
    store_part(job.dy + i, gradient, count);
  }
  return sum_of_lanes<T>(sum);
}
