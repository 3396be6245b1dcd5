// SPDX-License-Identifier: Apache-2.0
// What a step of training does to flat arrays of parameters. Included by bodies/all.inl.

/// What square_root needs to know of a type.
template <class T> struct square_root_of;
template <> struct square_root_of<float> {
  static constexpr std::int32_t first_guess = 0x5f3759df;
  static constexpr int rounds = 3;
};
template <> struct square_root_of<double> {
  static constexpr std::int64_t first_guess = 0x5fe6eb50c7b537a9;
  static constexpr int rounds = 4;
};

/// sqrt(x) to the last bit or two for normal x >= 0; 0 for 0. Halving the exponent's bits gives 1 / sqrt(x) to within
/// 0.035 of it, each of Newton's rounds squares the error, and a last one on the root itself takes off what rounding
/// left. The vector types have no square root of their own, and one lane after another would be slower than the memory.
template <class T> inline vec<T> square_root(vec<T> x) {
  using type = square_root_of<T>;
  vec<T> inverse = (vec<T>)(type::first_guess - ((bits<T>)x >> 1));
  UNETDN_UNROLL_TILE
  for (int i = 0; i < type::rounds; ++i) inverse = inverse * (T(1.5) - T(0.5) * x * inverse * inverse);
  vec<T> const root = x * inverse;
  return root + T(0.5) * inverse * (x - root * root);
}

/// Parameters begin to end - 1.
template <class T> void update_weights(adamw_update<T> const& job, std::int64_t begin, std::int64_t end) {
  for (std::int64_t i = begin; i < end; i += lanes<T>) {
    int const count = static_cast<int>(std::min<std::int64_t>(lanes<T>, end - i));
    vec<T> const g = job.gradient_scale * load_part(job.gradient + i, count);
    vec<T> const m = job.beta1 * load_part(job.first_moment + i, count) + (1 - job.beta1) * g;
    vec<T> const v = job.beta2 * load_part(job.second_moment + i, count) + (1 - job.beta2) * g * g;
    T const factor = job.rate_factors ? job.rate_factors[i / rate_block] : T(1);
    vec<T> const w = (1 - job.decay * factor) * load_part(job.weights + i, count) -
                     job.step_size * factor * m / (square_root<T>(v) * job.root_scale + job.epsilon);
    store_part(job.first_moment + i, m, count);
    store_part(job.second_moment + i, v, count);
    store_part(job.weights + i, w, count);
    if (!job.average) continue;
    store_part(job.average + i, job.average_decay * load_part(job.average + i, count) + (1 - job.average_decay) * w,
               count);
  }
}

/// Sum of squares, in double.
template <class T> double squared_norm(T const* x, std::int64_t elements) {
  constexpr int width = lanes<double>, sums = 4;  // sums enough to hide an addition's latency
  typedef T part __attribute__((vector_size(UNETDN_VECTOR_BYTES / sizeof(double) * sizeof(T))));
  vec<double> sum[sums] = {};
  std::int64_t i = 0;
  for (; i + sums * width <= elements; i += sums * width) {
    UNETDN_UNROLL_TILE
    for (int k = 0; k < sums; ++k) {
      part p;
      std::memcpy(&p, x + i + k * width, sizeof p);
      vec<double> const wide = __builtin_convertvector(p, vec<double>);
      sum[k] += wide * wide;
    }
  }
  vec<double> const all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  double result = 0;
  for (int lane = 0; lane < width; ++lane) result += all[lane];
  for (; i < elements; ++i) result += double(x[i]) * double(x[i]);
  return result;
}
