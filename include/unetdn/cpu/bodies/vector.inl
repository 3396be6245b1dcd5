// SPDX-License-Identifier: Apache-2.0
// Vectors of UNETDN_VECTOR_BYTES as the compilers' own vector types. Included by bodies/all.inl.

template <class T> struct vector_of { typedef T type __attribute__((vector_size(UNETDN_VECTOR_BYTES))); };
template <class T> using vec = typename vector_of<T>::type;
template <class T> inline constexpr int lanes = UNETDN_VECTOR_BYTES / int(sizeof(T));
/// Vectors of a group of channels.
template <class T> inline constexpr int group_vectors = group_channels / lanes<T>;

/// The bits of a vector's numbers, as signed integers: a cast from one to the other keeps them.
template <class T> struct bits_of;
template <> struct bits_of<float> { typedef std::int32_t type __attribute__((vector_size(UNETDN_VECTOR_BYTES))); };
template <> struct bits_of<double> { typedef std::int64_t type __attribute__((vector_size(UNETDN_VECTOR_BYTES))); };
template <class T> using bits = typename bits_of<T>::type;

// memcpy is the load without a promise of alignment; compilers make it one instruction.
template <class T> inline vec<T> load(T const* p) {
  vec<T> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class T> inline void store(T* p, vec<T> v) { std::memcpy(p, &v, sizeof v); }

/// The first `count` lanes from memory, zero in the others; none for a count below 0.
template <class T> inline vec<T> load_part(T const* p, int count) {
  if (count >= lanes<T>) return load(p);
  vec<T> v{};
  for (int i = 0; i < count; ++i) v[i] = p[i];
  return v;
}
template <class T> inline void store_part(T* p, vec<T> v, int count) {
  if (count >= lanes<T>) {
    store(p, v);
    return;
  }
  for (int i = 0; i < count; ++i) p[i] = v[i];
}

/// Calls f(i, count) for the vectors of elements i to i + count - 1; with a constant where all lanes exist.
template <class T, class Index, class F> inline void each_vector(Index elements, F f) {
  Index i = 0;
  for (; i + lanes<T> <= elements; i += lanes<T>) f(i, lanes<T>);
  if (i < elements) f(i, static_cast<int>(elements - i));
}

/// x - 0 folds to one broadcast instruction; 0 + x would not, because of -0.
template <class T> inline vec<T> broadcast(T x) { return x - vec<T>{}; }

/// v, rounded: a product that it comes from is not contracted into a sum with what follows. Else one expression could
/// have different bits in two places.
template <class T> UNETDN_ALWAYS_INLINE vec<T> rounded(vec<T> v) {
#if UNETDN_X86_BODIES
  __asm__("" : "+x"(v));
#elif defined(__aarch64__)
  __asm__("" : "+w"(v));
#elif defined(__GNUC__)
  __asm__("" : "+m"(v));
#endif
  return v;
}

// Always inlined: g++ takes a function that does nothing but fetch for one without effect, and drops its calls.
/// Begins to bring the lines of so many elements to the first-level cache; any address will do.
template <class T> UNETDN_ALWAYS_INLINE void fetch_early(T const* p, int elements = 1) {
  constexpr int line = 64 / int(sizeof(T));
  for (int i = 0; i < elements; i += line) __builtin_prefetch(p + i);
}
/// The same to the second-level cache, for what is needed later.
template <class T> UNETDN_ALWAYS_INLINE void fetch_far_ahead(T const* p, int elements) {
  constexpr int line = 64 / int(sizeof(T));
  for (int i = 0; i < elements; i += line) __builtin_prefetch(p + i, 0, 2);
}

/// Sixteen elements, whatever the length of a vector.
template <class T> inline void copy_group(T const* from, T* to) {
  UNETDN_UNROLL_TILE
  for (int i = 0; i < group_channels; i += lanes<T>) store(to + i, load(from + i));
}
template <class T> inline void zero(T* to, std::ptrdiff_t elements) {
  std::memset(to, 0, static_cast<std::size_t>(elements) * sizeof(T));
}

// A matrix of lanes x lanes is transposed by log2(lanes) rounds that interleave row i with row i + lanes/2.
template <class V, int... I> inline V interleave_low(V a, V b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, (I % 2 ? int(sizeof...(I)) + I / 2 : I / 2)...);
}
template <class V, int... I> inline V interleave_high(V a, V b, std::integer_sequence<int, I...>) {
  constexpr int count = int(sizeof...(I));
  return __builtin_shufflevector(a, b, (I % 2 ? count + count / 2 + I / 2 : count / 2 + I / 2)...);
}
template <class T> inline void transpose(vec<T> (&rows)[lanes<T>]) {
  using sequence = std::make_integer_sequence<int, lanes<T>>;
  vec<T> next[lanes<T>];
  for (int round = 1; round < lanes<T>; round *= 2) {
    UNETDN_UNROLL_TILE
    for (int i = 0; i < lanes<T> / 2; ++i) {
      next[2 * i] = interleave_low(rows[i], rows[i + lanes<T> / 2], sequence{});
      next[2 * i + 1] = interleave_high(rows[i], rows[i + lanes<T> / 2], sequence{});
    }
    UNETDN_UNROLL_TILE
    for (int i = 0; i < lanes<T>; ++i) rows[i] = next[i];
  }
}
