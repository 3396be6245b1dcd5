// SPDX-License-Identifier: Apache-2.0
// One direction of a separable filter. Included by bodies/all.inl.

/// Two vectors at once: a tap is then broadcast once for both, and their sums hide each other's latency.
template <class T>
void filter_rows(T const* taps, T const* const* rows, int count, T* to, std::int64_t elements) {
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
