// SPDX-License-Identifier: Apache-2.0
#pragma once
#if defined(__CUDACC__)
  #error "unetdn/devices/emulated.hpp is for the host compiler: under nvcc kernel bodies are __device__"
#endif
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <exception>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <unetdn/core/device.hpp>
#include <unetdn/core/half.hpp>
#include <unetdn/core/kernel.hpp>
#include <unetdn/core/mma.hpp>
#include <unetdn/core/parallel.hpp>
#include <unetdn/core/sanitizer.hpp>
#include <unetdn/devices/fiber.hpp>

namespace unetdn {

/// In which order the threads of a block run between two barriers. Each thread, and each warp, runs until it can go no
/// further: the largest skew that two of them can have, both ways round. What a missing barrier breaks, it breaks in at
/// least one of the two orders.
enum class thread_order { forward, reverse };

/// One call in the source of a kernel of a word that waits for something or lets others see it: sync, sync_warp,
/// copy_commit, copy_wait, publish, multiply_begin, multiply_commit or multiply_wait.
struct sync_site {
  std::string kernel, word, file;
  int line = 0;
  friend bool operator==(sync_site const&, sync_site const&) = default;
};

/// "sync of sum_partials<float>, reduce.hpp:41".
inline std::string to_string(sync_site const& s) {
  return text(s.word, " of ", s.kernel, ", ", s.file.substr(s.file.rfind('/') + 1), ":", s.line);
}

namespace detail {

/// A word of the vocabulary and where the kernel says it.
struct word_site {
  char const* word = "";
  char const* file = "";
  int line = 0;
  friend bool operator==(word_site const& a, word_site const& b) {
    return a.line == b.line && same(a.word, b.word) && same(a.file, b.file);
  }

 private:
  /// Mostly they are one literal, and threads compare often.
  static bool same(char const* a, char const* b) { return a == b || std::string_view(a) == b; }
};
inline std::string to_string(word_site const& s) { return text(s.word, " (line ", s.line, ")"); }

/// A kernel's name as its source spells it, without namespaces.
template <class K> std::string kernel_name() {
  std::string_view const pretty = __PRETTY_FUNCTION__;  // "... [with K = unetdn::kernels::sum_partials<float>; ...]"
  std::string_view name = pretty.substr(pretty.find("K = ") + 4);
  name = name.substr(0, name.find_first_of(";]"));
  std::string_view const before_arguments = name.substr(0, name.find('<'));
  std::size_t const scope = before_arguments.rfind("::");
  return std::string(scope == name.npos ? name : name.substr(scope + 2));
}

/// Thrown on the fibers of a block that failed elsewhere, so that their stacks unwind.
struct block_cancelled {};

/// Which synchronisation sites are recorded, and which one is skipped.
struct site_watch {
  bool recording = false;
  sync_site ignored;  // kernel empty: none
  bool active() const { return recording || !ignored.kernel.empty(); }
};

/// Runs the threads of one block at a time, each as a fiber: their states, barriers and asynchronous copies.
class block_machine {
 public:
  enum class state { ready, at_block_barrier, at_warp_operation, done };
  struct async_copy {
    void* to;
    unsigned char data[16];
  };
  struct thread_state {
    fiber stack;
    state at = state::done;
    bool begun = false;
    word_site site;                   // of the barrier or warp operation at which it waits
    void* operand = nullptr;          // of that operation: on the fiber's own stack
    std::vector<async_copy> copies;   // issued, not yet arrived
    std::vector<std::size_t> groups;  // how many copies each committed group has
    std::size_t uncommitted = 0;      // copies that belong to no group yet
    bool unpublished = false;         // copies have arrived since it last said publish
    bool unsynced = false;            // and those that it has published are not behind a sync
    bool may_multiply = false;        // it has said multiply_begin since it last waited for products
  };
  /// c += a b of a warpgroup that has begun: the operands as they were, and where they lie.
  struct product {
    std::vector<float> a, b;                                                  // [k][64], [k][n]
    std::vector<std::pair<void const*, std::array<unsigned char, 16>>> read;  // what must not change meanwhile
    std::array<fragment_c*, warpgroup_size> c{};                              // of each thread
    int n = 0;
  };
  /// Products on their way, in order, and how many each committed group has.
  struct warpgroup_state {
    std::vector<product> products;
    std::vector<std::size_t> groups;
    std::size_t uncommitted = 0;
  };

  /// Gives the block `threads` threads and `shared_bytes` of shared memory.
  void prepare(std::string kernel, int threads, std::size_t shared_bytes, site_watch const& watch) {
    kernel_ = std::move(kernel);
    watch_ = &watch;
    count_ = threads;
    if (allocated_ < threads) {
      threads_.reset(new thread_state[std::size_t(threads)]);
      allocated_ = threads;
    }
    // Exactly as large as the kernel says, so that AddressSanitizer finds what lies behind it.
    shared_.reset(static_cast<unsigned char*>(::operator new(shared_bytes, std::align_val_t(shared_alignment))));
    shared_bytes_ = shared_bytes;
  }

  /// Runs one block: every thread calls entry(&jobs[thread]), which ends in finish_thread().
  template <class Job> void run_block(void (*entry)(void*), std::vector<Job>& jobs, extent3 index, thread_order order) {
    index_ = index;
    failure_ = nullptr;
    cancelled_ = false;
    std::memset(shared_.get(), 0xFF, shared_bytes_);  // NaN for every type
    std::fill(std::begin(arrived_), std::end(arrived_), 0);
    std::fill(std::begin(arrived_in_group_), std::end(arrived_in_group_), 0);
    for (warpgroup_state& g : warpgroups_) g = {};
    for (int t = 0; t < count_; ++t) {
      thread_state& me = threads_[std::size_t(t)];
      me.at = state::ready;
      me.begun = false;
      me.copies.clear();
      me.groups.clear();
      me.uncommitted = 0;
      me.unpublished = me.unsynced = me.may_multiply = false;
      me.stack.start(entry, &jobs[std::size_t(t)], t);
    }
    try {
      schedule(order);
    } catch (...) {
      cancel();
      throw;
    }
    for (int t = 0; t < count_; ++t) observe(&threads_[std::size_t(t)].stack);
  }

  /// Called by a thread whose body has thrown. The first failure ends the block.
  void fail(std::exception_ptr failure) {
    unseen machinery;
    if (!cancelled_ && !failure_) failure_ = std::move(failure);
  }
  /// Called by a thread as its last act. Nothing that needs a destructor may be left on its stack: it never returns.
  void finish_thread(int t) {
    {
      unseen machinery;
      threads_[std::size_t(t)].at = state::done;
    }
    threads_[std::size_t(t)].stack.finish();
  }

  thread_state& thread(int t) { return threads_[std::size_t(t)]; }
  warpgroup_state& warpgroup(int t) { return warpgroups_[std::size_t(t / warpgroup_size)]; }
  bool all_published() const {
    return std::none_of(&threads_[0], &threads_[0] + count_, [](thread_state const& t) { return t.unpublished; });
  }
  unsigned char* shared() { return shared_.get(); }
  bool in_shared(void const* p, std::size_t bytes) const {
    auto const* c = static_cast<unsigned char const*>(p);
    return c >= shared_.get() && c + bytes <= shared_.get() + shared_bytes_;
  }

  void wait_at_block_barrier(int t, word_site site) {
    publish(&barrier_token_);
    {
      unseen machinery;
      thread_state& me = threads_[std::size_t(t)];
      me.at = state::at_block_barrier;
      me.site = site;
      suspend(me);
    }
    observe(&barrier_token_);
  }
  void wait_at_warp_barrier(int t, word_site site) {
    int* const token = &arrived_[t / warp_size];
    publish(token);
    warp_operation(t, site, nullptr, [](thread_state*) {});
    observe(token);
  }
  /// The last lane to arrive does `work` for the whole warp, on operands that lie on the lanes' stacks.
  template <class Work> void warp_operation(int t, word_site site, void* operand, Work work) {
    operation<warp_size>(t, site, operand, arrived_[t / warp_size], work);
  }
  /// The same for the four warps of a warpgroup.
  template <class Work> void warpgroup_operation(int t, word_site site, void* operand, Work work) {
    operation<warpgroup_size>(t, site, operand, arrived_in_group_[t / warpgroup_size], work);
  }

  /// Records the site if asked to; true where it is the one to be ignored.
  bool skips(word_site site) {
    if (!watch_->active()) return false;
    unseen machinery;
    sync_site const here{kernel_, site.word, site.file, site.line};
    if (watch_->recording && std::find(sites.begin(), sites.end(), here) == sites.end()) sites.push_back(here);
    return here == watch_->ignored;
  }

  /// "sum_partials<float>, block (0, 0, 0)".
  std::string where() const { return text(kernel_, ", block (", index_.x, ", ", index_.y, ", ", index_.z, ")"); }

  std::int64_t row_conflicts = 0;
  std::vector<sync_site> sites;
  static constexpr std::size_t shared_alignment = 1024;  // as on the GPU, so that bank numbers mean something

 private:
  template <int Size, class Work> void operation(int t, word_site site, void* operand, int& arrived, Work work) {
    unseen machinery;
    thread_state& me = threads_[std::size_t(t)];
    me.at = state::at_warp_operation;
    me.site = site;
    me.operand = operand;
    if (++arrived < Size) return suspend(me);
    int const first = t / Size * Size;
    thread_state* const all = &threads_[std::size_t(first)];
    for (int i = 0; i < Size; ++i) {
      if (!(all[i].site == site)) {
        throw kernel_fault(text("is at ", to_string(site), ", thread ", first + i, " of its warp",
                                Size > warp_size ? "group" : "", " at ", to_string(all[i].site)));
      }
    }
    work(all);
    arrived = 0;
    for (int i = 0; i < Size; ++i) all[i].at = state::ready;
  }

  void suspend(thread_state& me) {
    me.stack.suspend();
    if (cancelled_) throw block_cancelled{};
  }

  void schedule(thread_order order) {
    unseen machinery;
    for (;;) {
      while (run_warps(order)) {
      }
      int const done = count(state::done);
      if (done == count_) return;
      require_common_barrier(done);
      for (int t = 0; t < count_; ++t) threads_[std::size_t(t)].at = state::ready;
    }
  }
  /// Lets every warp run until it can go no further; false when none could move.
  bool run_warps(thread_order order) {
    bool any = false;
    int const warps = count_ / warp_size;
    for (int i = 0; i < warps; ++i) {
      int const warp = order == thread_order::forward ? i : warps - 1 - i;
      while (run_lanes(warp, order)) any = true;
    }
    return any;
  }
  bool run_lanes(int warp, thread_order order) {
    bool any = false;
    for (int i = 0; i < warp_size; ++i) {
      int const lane = order == thread_order::forward ? i : warp_size - 1 - i;
      thread_state& t = threads_[std::size_t(warp * warp_size + lane)];
      if (t.at != state::ready) continue;
      any = true;
      t.begun = true;
      t.stack.resume();
      if (failure_) {
        observe(&t.stack);
        std::rethrow_exception(std::exchange(failure_, nullptr));
      }
    }
    return any;
  }
  int count(state s) const {
    return int(std::count_if(&threads_[0], &threads_[0] + count_, [&](thread_state const& t) { return t.at == s; }));
  }
  void require_common_barrier(int done) const {
    int const waiting = count(state::at_block_barrier);
    if (waiting != count_) {
      throw kernel_fault(text(where(), ": barrier not reached by every thread: ", waiting, " at sync, ",
                              count(state::at_warp_operation), " at a warp operation, ", done, " finished"));
    }
    for (int t = 1; t < count_; ++t) {
      word_site const &first = threads_[0].site, &other = threads_[std::size_t(t)].site;
      if (!(other == first)) {
        throw kernel_fault(text(where(), ": barriers at different sites: thread 0 at ", to_string(first), ", thread ",
                                t, " at ", to_string(other)));
      }
    }
  }
  /// Unwinds the stacks of the threads that still wait.
  void cancel() {
    unseen machinery;
    cancelled_ = true;
    for (int t = 0; t < count_; ++t) {
      thread_state& me = threads_[std::size_t(t)];
      if (me.begun && me.at != state::done) me.stack.resume();
      observe(&me.stack);
    }
  }

  struct aligned_delete {
    void operator()(unsigned char* p) const { ::operator delete(p, std::align_val_t(shared_alignment)); }
  };
  std::unique_ptr<thread_state[]> threads_;
  int allocated_ = 0, count_ = 0;
  int arrived_[1024 / warp_size] = {};  // lanes of each warp that wait at its operation
  int arrived_in_group_[1024 / warpgroup_size] = {};
  std::array<warpgroup_state, 1024 / warpgroup_size> warpgroups_;
  std::unique_ptr<unsigned char, aligned_delete> shared_;
  std::size_t shared_bytes_ = 0;
  std::string kernel_;
  extent3 index_;
  site_watch const* watch_ = nullptr;
  std::exception_ptr failure_;
  bool cancelled_ = false;
  char barrier_token_ = 0;
};

}  // namespace detail

/// Runs CUDA kernels on the processor, thread by thread, with the real grid and the real barriers: for tests.
///
/// Throws kernel_fault for a barrier that not every thread reaches or that threads reach at different sites, lanes of a
/// warp (or threads of a warpgroup) at different operations, a misaligned or misplaced 16-byte access, and a copy_async
/// never waited for; for products of a warpgroup without publish, sync or multiply_begin before them, whose operands
/// change before they are waited for, or that never are.
/// Makes wrong results of a missing barrier or wait: shared memory is NaN before a block writes it, the target of a
/// copy_async is NaN until copy_wait delivers, and each thread runs as far ahead of the others as it can.
/// AddressSanitizer finds accesses out of bounds; ThreadSanitizer sees each thread of a block as a thread.
/// It cannot show timing, the weak memory order between blocks, or what only a GPU's own instructions do.
class emulated {
 public:
  class block;
  // Its memory could be read directly, but then a missing upload or download would go unnoticed until a GPU ran it.
  static constexpr bool is_host = false;
  static constexpr std::size_t alignment = 64;
  static constexpr std::size_t red_zone = red_zone_bytes;
  static constexpr int multiprocessors = 1;  // so that tests see blocks that take several tiles
  template <class T>
  static constexpr bool supports = std::is_same_v<T, float> || std::is_same_v<T, bf16> || std::is_same_v<T, fp16>;
  static constexpr char const* name() { return "emulated"; }

  /// Blocks are spread over `workers` threads of the host.
  explicit emulated(thread_order order = thread_order::forward, int workers = 1)
      : order_{order},
        pool_{std::make_unique<thread_pool>(std::max(1, workers))},
        machines_(std::size_t(pool_->threads())) {}
  emulated(emulated&& other) noexcept
      : order_{other.order_},
        pool_{std::move(other.pool_)},
        machines_{std::move(other.machines_)},
        watch_{std::move(other.watch_)},
        kernels_{std::move(other.kernels_)},
        scratch_{std::exchange(other.scratch_, nullptr)},
        scratch_bytes_{std::exchange(other.scratch_bytes_, 0)},
        tf32_{other.tf32_},
        warpgroups_{other.warpgroups_},
        available_{other.available_},
        transfers_{std::move(other.transfers_)},
        position_{other.position_} {}
  emulated& operator=(emulated&&) = delete;
  ~emulated() { release(scratch_); }

  emulated sibling() const {
    emulated other(order_, pool_->threads());
    other.tf32_ = tf32_;
    other.warpgroups_ = warpgroups_;
    other.available_ = available_;
    return other;
  }

  /// Filled with NaN, as nothing promises that fresh memory is zero, between two red zones.
  static void* allocate(std::size_t bytes) {
    std::size_t const all = guard + round_up(bytes, alignment) + guard;
    auto* const base = static_cast<unsigned char*>(::operator new(all, std::align_val_t(alignment), std::nothrow));
    if (!base)
      throw out_of_memory(text("cannot allocate ", bytes >> 20, " MiB; use smaller pictures or a smaller batch"));
    std::memset(base, 0xFF, all);
    poison(base, guard);
    poison(base + guard + bytes, all - guard - bytes);
    return base + guard;
  }
  static void release(void* p) noexcept {
    if (p) ::operator delete(static_cast<unsigned char*>(p) - guard, std::align_val_t(alignment));
  }
  void upload(void* to, void const* from, std::size_t bytes) {
    allow("upload");
    copy(to, from, bytes);
  }
  void download(void* to, void const* from, std::size_t bytes) {
    allow("download");
    copy(to, from, bytes);
  }
  static void copy(void* to, void const* from, std::size_t bytes) {
    if (bytes) std::memcpy(to, from, bytes);  // empty spans may be null, which memcpy must not be given
  }
  static void fill_zero(void* p, std::size_t bytes) { std::memset(p, 0, bytes); }
  void synchronize() {
    allow("synchronize");
    settle(position_);
  }

  /// What limit_memory says; without it, the largest number.
  std::size_t available_bytes() const { return available_; }
  /// Pretends that no more than this could be allocated: for tests of what is refused before any work.
  void limit_memory(std::size_t bytes) { available_ = bytes; }

  // Work is done at once, so a host that does not wait would go unnoticed. Therefore what download_async brings is NaN
  // until it has been waited for, and what upload_async took must then be unchanged: kernel_fault otherwise.
  struct mark {
    std::uint64_t position = 0;
  };
  class graph {
    friend class emulated;
    bool tried_ = false;
    void const* scratch_ = nullptr;
    std::vector<std::string> launches_;
  };
  static void* allocate_host(std::size_t bytes) { return allocate(bytes); }
  static void release_host(void* p) noexcept { release(p); }
  void upload_async(void* to, void const* from, std::size_t bytes) {
    copy(to, from, bytes);
    auto const* const source = static_cast<unsigned char const*>(from);
    transfers_.push_back({const_cast<void*>(from), false, {source, source + bytes}, ++position_});
  }
  void download_async(void* to, void const* from, std::size_t bytes) {
    auto const* const source = static_cast<unsigned char const*>(from);
    transfers_.push_back({to, true, {source, source + bytes}, ++position_});
    std::memset(to, 0xFF, bytes);
  }
  /// Whether no asynchronous copy is under way.
  bool idle() const { return transfers_.empty(); }
  void set(mark& m) const { m.position = position_; }
  void wait(mark& m) {
    allow("wait");
    settle(m.position);
  }
  /// Throws kernel_fault where a GPU could not capture the work, or launches differ from those it would have captured.
  template <class F> void repeat(graph& g, F&& work) {
    if (!std::exchange(g.tried_, true)) return work();
    struct until_the_end {
      emulated& dev;
      explicit until_the_end(emulated& d) : dev{d} {
        dev.launched_.clear();
        dev.repeating_ = true;
      }
      ~until_the_end() { dev.repeating_ = false; }
    };
    {
      until_the_end const repeating(*this);
      work();
    }
    if (std::exchange(g.scratch_, scratch_) != scratch_) g.launches_.clear();  // a GPU captures anew
    if (g.launches_.empty()) g.launches_ = launched_;
    if (g.launches_ != launched_)
      throw kernel_fault("repeat: the work is not what it was before, but a GPU would repeat that");
  }
  static void begin_range(char const*) {}
  static void end_range() {}

  void* scratch(std::size_t bytes) {
    if (bytes > scratch_bytes_) {
      allow("growing scratch");
      release(std::exchange(scratch_, nullptr));
      scratch_bytes_ = 0;
      scratch_ = allocate(bytes);
      scratch_bytes_ = bytes;
    }
    return scratch_;
  }
  std::size_t scratch_bytes() const { return scratch_bytes_; }

  /// As of cuda: whether float convolutions may round their operands to tf32.
  bool tf32() const { return tf32_; }
  void allow_tf32(bool allow) { tf32_ = allow; }
  /// As of cuda: whether it multiplies by warpgroups. It does at first, and can be told to be an older GPU.
  bool has_warpgroups() const { return warpgroups_; }
  void pretend_warpgroups(bool has) { warpgroups_ = has; }

  /// Runs all blocks of a kernel; what launch(emulated&, ...) calls.
  template <class K> void run(extent3 blocks, K const& k);

  /// Bank conflicts of load_matrix_x4 since construction: rows that had to wait for another of their eight.
  std::int64_t row_conflicts() const {
    std::int64_t sum = 0;
    for (auto const& m : machines_) sum += m.row_conflicts;
    return sum;
  }
  /// From now on, notes which kernels run, and their sync_sites.
  void record_sites() { watch_.recording = true; }
  /// The kernels noted so far, one for each launch.
  std::vector<std::string> const& kernels() const { return kernels_; }
  /// The sites noted so far.
  std::vector<sync_site> sites() const {
    std::vector<sync_site> all;
    for (auto const& m : machines_) {
      for (auto const& s : m.sites) {
        if (std::find(all.begin(), all.end(), s) == all.end()) all.push_back(s);
      }
    }
    return all;
  }
  /// From now on, skips this one site as if the kernel did not have it. A good test then fails.
  void ignore(sync_site site) { watch_.ignored = std::move(site); }

 private:
  static constexpr std::size_t guard = 256;  // around every allocation
  struct transfer {
    void* host;
    bool to_host;
    std::vector<unsigned char> bytes;
    std::uint64_t position;  // in the queue
  };
  void allow(char const* what) const {
    if (repeating_)
      throw kernel_fault(text(what, " in work to repeat: a GPU captures that, and can then neither wait nor allocate"));
  }
  void settle(std::uint64_t position) {
    auto const later =
        std::find_if(transfers_.begin(), transfers_.end(), [&](transfer const& t) { return t.position > position; });
    std::vector<transfer> const due(std::make_move_iterator(transfers_.begin()), std::make_move_iterator(later));
    transfers_.erase(transfers_.begin(), later);
    for (transfer const& t : due) {
      if (t.to_host) {
        copy(t.host, t.bytes.data(), t.bytes.size());
      } else if (!std::equal(t.bytes.begin(), t.bytes.end(), static_cast<unsigned char const*>(t.host))) {
        throw kernel_fault("upload_async: the host changed its buffer before it waited for the copy");
      }
    }
  }
  template <class K> struct job {
    detail::block_machine* machine;
    K const* k;
    extent3 index, blocks;
    int thread;
  };
  template <class K> static void entry(void* argument);

  thread_order order_;
  std::unique_ptr<thread_pool> pool_;
  std::vector<detail::block_machine> machines_;  // one a worker
  detail::site_watch watch_;
  std::vector<std::string> kernels_;
  void* scratch_ = nullptr;
  std::size_t scratch_bytes_ = 0;
  bool tf32_ = false;
  bool warpgroups_ = true;
  std::size_t available_ = std::numeric_limits<std::size_t>::max();
  bool repeating_ = false;
  std::vector<std::string> launched_;  // in work that is being repeated
  std::vector<transfer> transfers_;    // on their way, as far as the host can know
  std::uint64_t position_ = 0;
};
static_assert(device<emulated>);

/// The vocabulary of kernels, as one thread sees it. `cuda_block` has the same words. The file and line that some of
/// them take are those of the call, and are never passed.
class emulated::block {
 public:
  block(detail::block_machine& machine, int thread, extent3 index, extent3 blocks)
      : machine_{machine}, thread_{thread}, index_{index}, blocks_{blocks} {}

  /// Index of this thread in its block, of its lane in its warp, of its warp and of its warpgroup in the block.
  int thread() const { return thread_; }
  int lane() const { return thread_ % warp_size; }
  int warp() const { return thread_ / warp_size; }
  int warpgroup() const { return thread_ / warpgroup_size; }
  /// Index of this block, and how many there are.
  extent3 index() const { return index_; }
  extent3 blocks() const { return blocks_; }

  /// Waits for all threads of the block; their earlier writes to shared memory are then visible.
  void sync(char const* file = __builtin_FILE(), int line = __builtin_LINE()) {
    detail::word_site const site{"sync", file, line};
    if (machine_.skips(site)) return;
    machine_.wait_at_block_barrier(thread_, site);
    detail::unseen machinery;
    machine_.thread(thread_).unsynced = false;
  }
  /// The same for the 32 threads of the warp.
  void sync_warp(char const* file = __builtin_FILE(), int line = __builtin_LINE()) {
    detail::word_site const site{"sync_warp", file, line};
    if (!machine_.skips(site)) machine_.wait_at_warp_barrier(thread_, site);
  }
  /// The value of v in lane (lane() ^ mask). It orders no memory.
  template <class T> T shuffle_xor(T v, int mask, char const* file = __builtin_FILE(), int line = __builtin_LINE()) {
    static_assert(sizeof(T) <= 8);
    struct operand {
      T in, out;
      int mask;
    } mine{v, v, mask};
    machine_.warp_operation(thread_, {"shuffle_xor", file, line}, &mine, [](auto* lanes) {
      auto const at = [&](int l) { return static_cast<operand*>(lanes[l].operand); };
      for (int l = 0; l < warp_size; ++l) at(l)->out = at(l ^ at(l)->mask)->in;
    });
    return mine.out;
  }
  /// Adds v to *to, in shared or global memory, and returns the old value. Integers only: the order of threads is left
  /// to chance, and a sum of floats would depend on it.
  template <class T> T atomic_add(T* to, T v) {
    static_assert(std::is_integral_v<T> && (sizeof(T) == 4 || (sizeof(T) == 8 && std::is_unsigned_v<T>)),
                  "atomic_add takes int, unsigned and unsigned long long");
    return std::atomic_ref<T>(*to).fetch_add(v, std::memory_order_relaxed);
  }

  /// Begins to copy 16 bytes from global to shared memory, or 16 zeros where not `valid` (nothing is then read).
  template <class T> void copy_async(T* s_to, T const* from, bool valid = true) {
    require_row(s_to, "copy_async target");
    if (reinterpret_cast<std::uintptr_t>(from) % 16) throw kernel_fault("copy_async source is not aligned to 16 bytes");
    detail::block_machine::async_copy c{s_to, {}};
    if (valid) {
      // Read here, so that AddressSanitizer names the kernel's line. The target is NaN until the data arrives.
      for (int i = 0; i < int(16 / sizeof(T)); ++i)
        std::memcpy(c.data + std::size_t(i) * sizeof(T), from + i, sizeof(T));
    }
    std::uint64_t const nan_bits[2] = {~std::uint64_t(0), ~std::uint64_t(0)};
    write_16(c.to, nan_bits);
    detail::unseen machinery;
    auto& me = machine_.thread(thread_);
    me.copies.push_back(c);
    ++me.uncommitted;
  }
  /// Closes a group of this thread's copies, which may be empty.
  void copy_commit(char const* file = __builtin_FILE(), int line = __builtin_LINE()) {
    if (machine_.skips({"copy_commit", file, line})) return;
    detail::unseen machinery;
    auto& me = machine_.thread(thread_);
    me.groups.push_back(std::exchange(me.uncommitted, 0));
  }
  /// Waits until at most `Pending` of this thread's groups are still on their way. Other threads see them after a sync.
  template <int Pending = 0> void copy_wait(char const* file = __builtin_FILE(), int line = __builtin_LINE()) {
    if (machine_.skips({"copy_wait", file, line})) return;
    auto& me = machine_.thread(thread_);
    std::size_t const groups = me.groups.size() > std::size_t(Pending) ? me.groups.size() - std::size_t(Pending) : 0;
    std::size_t copies = 0;
    for (std::size_t i = 0; i < groups; ++i) copies += me.groups[i];
    for (std::size_t i = 0; i < copies; ++i) write_16(me.copies[i].to, me.copies[i].data);
    detail::unseen machinery;
    me.unpublished |= copies > 0;
    me.groups.erase(me.groups.begin(), me.groups.begin() + std::ptrdiff_t(groups));
    me.copies.erase(me.copies.begin(), me.copies.begin() + std::ptrdiff_t(copies));
  }

  /// Loads four 8x8 matrices of 16-bit elements, or 8x4 of 32-bit ones; lane l gives the address of row l % 8 of matrix
  /// l / 8. Transposed: 16-bit elements only. See core/mma.hpp.
  template <class T>
  void load_matrix_x4(std::uint32_t (&r)[4], T const* s_row, char const* file = __builtin_FILE(),
                      int line = __builtin_LINE()) {
    load_matrix<false>(r, s_row, {"load_matrix_x4", file, line});
  }
  template <class T>
  void load_matrix_x4_transposed(std::uint32_t (&r)[4], T const* s_row, char const* file = __builtin_FILE(),
                                 int line = __builtin_LINE()) {
    load_matrix<true>(r, s_row, {"load_matrix_x4_transposed", file, line});
  }

  /// c[16x8] += a[16xK] b[Kx8], by the whole warp; bf16, fp16 and tf32. Operands of tf32 must have been rounded to it:
  /// a GPU ignores what lies below.
  template <class T>
  void mma(fragment_c& c, fragment_a<T> const& a, fragment_b<T> const& b, char const* file = __builtin_FILE(),
           int line = __builtin_LINE()) {
    mma_operand<T> mine{&c, &a, &b};
    machine_.warp_operation(thread_, {"mma", file, line}, &mine, [](auto* lanes) {
      mma_operand<T>* at[warp_size];
      for (int l = 0; l < warp_size; ++l) at[l] = static_cast<mma_operand<T>*>(lanes[l].operand);
      multiply(at);
    });
  }

  // What a warpgroup's products read from shared memory they read past the threads' own order of accesses: a thread
  // must publish what its copies brought, before the sync after which the others multiply it.

  /// Makes what this thread's copies have brought visible to products, after the next sync.
  void publish(char const* file = __builtin_FILE(), int line = __builtin_LINE()) {
    if (machine_.skips({"publish", file, line})) return;
    detail::unseen machinery;
    auto& me = machine_.thread(thread_);
    me.unsynced |= std::exchange(me.unpublished, false);
  }
  /// Before the first product after a wait for products: orders it behind this thread's accesses to its registers.
  void multiply_begin(char const* file = __builtin_FILE(), int line = __builtin_LINE()) {
    detail::word_site const site{"multiply_begin", file, line};
    if (machine_.skips(site)) return;
    machine_.warpgroup_operation(thread_, site, nullptr, [](auto* threads) {
      for (int t = 0; t < warpgroup_size; ++t) threads[t].may_multiply = true;
    });
  }
  /// Begins c[64xN] += a[64x16] b[16xN], N being 8 times the number of fragments, by the whole warpgroup. Until the
  /// product has been waited for, c must be left alone (but by the next product), and so must the operands.
  template <class T, bool TransposedB, int Fragments>
  void multiply_async(fragment_c (&c)[Fragments], shared_matrix<T, false> const& a,
                      shared_matrix<T, TransposedB> const& b, char const* file = __builtin_FILE(),
                      int line = __builtin_LINE()) {
    operand_pieces<T> of_a = take_pieces(a, 64), of_b = take_pieces(b, Fragments * 8);
    begin_product<T>(c, &of_a, nullptr, of_b, {"multiply_async", file, line});
  }
  /// The same with a from registers.
  template <class T, bool TransposedB, int Fragments>
  void multiply_async(fragment_c (&c)[Fragments], fragment_a<T> const& a, shared_matrix<T, TransposedB> const& b,
                      char const* file = __builtin_FILE(), int line = __builtin_LINE()) {
    operand_pieces<T> of_b = take_pieces(b, Fragments * 8);
    begin_product<T>(c, nullptr, &a, of_b, {"multiply_async", file, line});
  }
  /// Closes a group of the warpgroup's products.
  void multiply_commit(char const* file = __builtin_FILE(), int line = __builtin_LINE()) {
    detail::word_site const site{"multiply_commit", file, line};
    if (machine_.skips(site)) return;
    machine_.warpgroup_operation(thread_, site, nullptr, [this](auto*) {
      auto& group = machine_.warpgroup(thread_);
      group.groups.push_back(std::exchange(group.uncommitted, 0));
    });
  }
  /// Waits until at most `Pending` groups of products are still on their way; the others' sums are then in c. After the
  /// last wait, settle(c) comes before anything is done with c.
  template <int Pending = 0> void multiply_wait(char const* file = __builtin_FILE(), int line = __builtin_LINE()) {
    detail::word_site const site{"multiply_wait", file, line};
    if (machine_.skips(site)) return;
    machine_.warpgroup_operation(thread_, site, nullptr, [this](auto* threads) {
      auto& group = machine_.warpgroup(thread_);
      std::size_t const groups =
          group.groups.size() > std::size_t(Pending) ? group.groups.size() - std::size_t(Pending) : 0;
      std::size_t products = 0;
      for (std::size_t i = 0; i < groups; ++i) products += group.groups[i];
      for (std::size_t i = 0; i < products; ++i) finish_product(group.products[i]);
      group.products.erase(group.products.begin(), group.products.begin() + std::ptrdiff_t(products));
      group.groups.erase(group.groups.begin(), group.groups.begin() + std::ptrdiff_t(groups));
      for (int t = 0; t < warpgroup_size; ++t) threads[t].may_multiply = false;
    });
  }
  /// For compilers: sums, an array of fragments or arrays of them, have changed.
  template <class Sums> void settle(Sums&) {}

 private:
  // Products compute late and read early: what they read is compared when they are waited for, so that a buffer filled
  // anew too soon is seen.
  template <class T> struct operand_pieces {
    T const* first;
    int groups_apart, blocks_apart;
    int extent;  // m or n
    bool transposed;
    std::array<std::array<T, 8>, 2> own;  // this thread's share of them: number t and t + 128

    int count() const { return extent * 2; }  // pieces of 16 bytes
    /// Row and first column of piece i.
    int row(int i) const { return transposed ? i % 16 : i % extent; }
    int column(int i) const { return (transposed ? i / 16 : i / extent) * 8; }
    /// The hardware applies the spread to the address that it has computed.
    T const* at(int i) const {
      T const* const plain = first + row(i) / 8 * groups_apart + row(i) % 8 * shared_row +
                             column(i) / shared_row * blocks_apart + column(i) % shared_row;
      auto const address = reinterpret_cast<std::uintptr_t>(plain);
      return reinterpret_cast<T const*>(address ^ (address >> 7 & 7) << 4);
    }
    /// Element e of piece i goes to to[k][extent].
    void place(std::array<T, 8> const& piece, int i, std::vector<float>& to) const {
      for (int e = 0; e < 8; ++e) {
        int const k = transposed ? row(i) : column(i) + e, across = transposed ? column(i) + e : row(i);
        to[std::size_t(k * extent + across)] = float(piece[std::size_t(e)]);
      }
    }
  };
  template <class T, bool Transposed> operand_pieces<T> take_pieces(shared_matrix<T, Transposed> const& m, int extent) {
    operand_pieces<T> p{m.s_first + m.shift, m.groups_apart, m.blocks_apart, extent, Transposed, {}};
    auto* own = p.own.data();
    for (int i = thread_ % warpgroup_size; i < p.count(); i += warpgroup_size) {
      require_row(p.at(i), "multiply_async operand");
      write_16(own++, p.at(i));
    }
    return p;
  }
  template <class T> struct product_operand {
    fragment_c* c;
    operand_pieces<T> const* a;
    fragment_a<T> const* registers;
    operand_pieces<T> const* b;
  };
  template <class T, int Fragments>
  void begin_product(fragment_c (&c)[Fragments], operand_pieces<T> const* a, fragment_a<T> const* registers,
                     operand_pieces<T> const& b, detail::word_site site) {
    product_operand<T> mine{c, a, registers, &b};
    machine_.warpgroup_operation(thread_, site, &mine, [&](auto* threads) {
      if (!machine_.all_published()) throw kernel_fault("multiplies what copies brought and no publish let it see");
      detail::block_machine::product p;
      p.n = Fragments * 8;
      p.a.resize(16 * 64);
      p.b.resize(std::size_t(16 * p.n));
      p.read.reserve(std::size_t(warpgroup_size + 2 * p.n));
      for (int t = 0; t < warpgroup_size; ++t) {
        if (!threads[t].may_multiply) throw kernel_fault("multiplies without multiply_begin");
        // The products' own meeting of all threads is the emulation's alone.
        if (threads[t].unsynced) throw kernel_fault("multiplies what copies brought, and no sync came between");
        auto const& of = *static_cast<product_operand<T> const*>(threads[t].operand);
        p.c[std::size_t(t)] = of.c;
        auto const take = [&](operand_pieces<T> const& from, operand_pieces<T> const& last, std::vector<float>& to) {
          if (from.first != last.first || from.groups_apart != last.groups_apart ||
              from.blocks_apart != last.blocks_apart)
            throw kernel_fault(text("multiplies a matrix that is another one in thread ", t, " of its warpgroup"));
          auto const* own = from.own.data();
          for (int i = t; i < from.count(); i += warpgroup_size, ++own) {
            from.place(*own, i, to);
            auto& read = p.read.emplace_back();
            read.first = from.at(i);
            std::memcpy(read.second.data(), own, 16);
          }
        };
        take(*of.b, b, p.b);
        if (a) {
          take(*of.a, *a, p.a);
        } else {
          for (int i = 0; i < 4; ++i) {
            for (int j = 0; j < 2; ++j) {
              int const m = t / warp_size * 16 + t % warp_size / 4 + i % 2 * 8;
              int const k = t % 4 * 2 + j + i / 2 * 8;
              p.a[std::size_t(k * 64 + m)] = element<T>(of.registers->r[i], j);
            }
          }
          auto& read = p.read.emplace_back();
          read.first = of.registers->r;
          std::memcpy(read.second.data(), of.registers->r, 16);
        }
      }
      auto& group = machine_.warpgroup(thread_);
      group.products.push_back(std::move(p));
      ++group.uncommitted;
    });
  }
  static void finish_product(detail::block_machine::product const& p) {
    for (auto const& [from, bytes] : p.read) {
      if (std::memcmp(from, bytes.data(), bytes.size()) != 0)
        throw kernel_fault("waits for products whose operands have been overwritten meanwhile");
    }
    for (int j = 0; j < p.n / 8; ++j) {
      eight_floats b[16], c[64];
      auto const each_sum = [&](auto f) {
        for (int t = 0; t < warpgroup_size; ++t) {
          int const lane = t % warp_size, first_row = t / warp_size * 16;
          for (int i = 0; i < 4; ++i)
            f(c[first_row + fragment_c_row(lane, i)], fragment_c_column(lane, i), p.c[std::size_t(t)][j].r[i]);
        }
      };
      each_sum([](eight_floats& row, int column, float from) { row[column] = from; });
      for (int k = 0; k < 16; ++k) std::memcpy(&b[k], &p.b[std::size_t(k * p.n + 8 * j)], sizeof b[k]);
      add_products(c, p.a.data(), b, 16, 64);
      each_sum([](eight_floats const& row, int column, float& to) { to = row[column]; });
    }
  }

  using eight_floats [[gnu::vector_size(32)]] = float;
  /// c[m] += a[k][m] b[k] for all k below `depth` and m below `rows`: eight columns of a product. Unchecked, because
  /// this is most of the emulator's work and touches nothing of a kernel's.
  UNETDN_UNCHECKED static void add_products(eight_floats* c, float const* a, eight_floats const* b, int depth,
                                            int rows) {
    for (int k = 0; k < depth; ++k) {
      for (int m = 0; m < rows; ++m) c[m] += a[k * rows + m] * b[k];
    }
  }

  template <class T> struct mma_operand {
    fragment_c* c;
    fragment_a<T> const* a;
    fragment_b<T> const* b;
  };

  /// One operand's element in half i of a register (16-bit), or the whole of it (tf32).
  template <class T> static float element(std::uint32_t r, int i) {
    if constexpr (std::is_same_v<T, unetdn::tf32>) {
      return __builtin_bit_cast(float, r & 0xffffe000u);
    } else {
      T h;
      h.bits = std::uint16_t(r >> 16 * i);
      return float(h);
    }
  }
  template <class T> static void multiply(mma_operand<T>* const (&at)[warp_size]) {
    constexpr int depth = mma_depth<T>;
    constexpr int in_register = depth / 8;  // elements of one register
    float a[depth * 16];                    // [k][m]
    eight_floats b[depth], c[16];
    for (int l = 0; l < warp_size; ++l) {
      int const group = l / 4;
      int const first = l % 4 * in_register;
      for (int j = 0; j < in_register; ++j) {
        for (int i = 0; i < 4; ++i)
          a[(first + j + i / 2 * depth / 2) * 16 + group + i % 2 * 8] = element<T>(at[l]->a->r[i], j);
        for (int i = 0; i < 2; ++i) b[first + j + i * depth / 2][group] = element<T>(at[l]->b->r[i], j);
      }
      for (int i = 0; i < 4; ++i) c[fragment_c_row(l, i)][fragment_c_column(l, i)] = at[l]->c->r[i];
    }
    add_products(c, a, b, depth, 16);
    for (int l = 0; l < warp_size; ++l) {
      for (int i = 0; i < 4; ++i) at[l]->c->r[i] = c[fragment_c_row(l, i)][fragment_c_column(l, i)];
    }
  }

  struct row_operand {
    std::uint16_t row[8];
    std::uint32_t* r;
    void const* s_row;
  };
  template <bool Transposed, class T> void load_matrix(std::uint32_t (&r)[4], T const* s_row, detail::word_site site) {
    static_assert(sizeof(T) == 2 || (sizeof(T) == 4 && !Transposed));
    require_row(s_row, "load_matrix row");
    // Each lane reads its own row on arrival, so that a sync_warp missing after a plain store is seen.
    row_operand mine{{}, r, s_row};
    for (int i = 0; i < 8; ++i) std::memcpy(&mine.row[i], reinterpret_cast<unsigned char const*>(s_row) + 2 * i, 2);
    machine_.warp_operation(thread_, site, &mine, [this](auto* lanes) {
      row_operand* at[warp_size];
      for (int l = 0; l < warp_size; ++l) at[l] = static_cast<row_operand*>(lanes[l].operand);
      for (int matrix = 0; matrix < 4; ++matrix) machine_.row_conflicts += conflicts(&at[8 * matrix]);
      for (int l = 0; l < warp_size; ++l) {
        int const group = l / 4, pair = l % 4 * 2;
        for (int matrix = 0; matrix < 4; ++matrix) {
          auto const half = [&](int j) -> std::uint32_t {
            return Transposed ? at[matrix * 8 + pair + j]->row[group] : at[matrix * 8 + group]->row[pair + j];
          };
          at[l]->r[matrix] = half(0) | half(1) << 16;
        }
      }
    });
  }
  /// The eight rows of a matrix should lie in eight different sixteen-byte columns of the banks.
  static int conflicts(row_operand* const* rows) {
    unsigned columns = 0;
    for (int i = 0; i < 8; ++i) columns |= 1u << (reinterpret_cast<std::uintptr_t>(rows[i]->s_row) / 16 % 8);
    return 8 - __builtin_popcount(columns);
  }

  // In halves: g++ expands a 16-byte memcpy after its ThreadSanitizer pass, which then would not see it.
  static void write_16(void* to, void const* from) {
    std::memcpy(to, from, 8);
    std::memcpy(static_cast<char*>(to) + 8, static_cast<char const*>(from) + 8, 8);
  }
  void require_row(void const* p, char const* what) const {
    if (reinterpret_cast<std::uintptr_t>(p) % 16) throw kernel_fault(text(what, " is not aligned to 16 bytes"));
    if (!machine_.in_shared(p, 16)) throw kernel_fault(text(what, " is not in the block's shared memory"));
  }

  detail::block_machine& machine_;
  int thread_;
  extent3 index_, blocks_;
};

template <class K> void emulated::entry(void* argument) {
  auto const& j = *static_cast<job<K>*>(argument);
  try {
    block b{*j.machine, j.thread, j.index, j.blocks};
    (*j.k)(b, *reinterpret_cast<typename K::shared*>(j.machine->shared()));
    if (!j.machine->thread(j.thread).copies.empty()) throw kernel_fault("ends with a copy_async never waited for");
    if constexpr (by_warpgroups<K>) {
      if (!j.machine->warpgroup(j.thread).products.empty())
        throw kernel_fault("ends with a multiply_async never waited for");
    }
  } catch (detail::block_cancelled const&) {
  } catch (kernel_fault const& fault) {
    j.machine->fail(
        std::make_exception_ptr(kernel_fault(text(j.machine->where(), ", thread ", j.thread, ": ", fault.what()))));
  } catch (...) {
    j.machine->fail(std::current_exception());
  }
  j.machine->finish_thread(j.thread);
}

template <class K> void emulated::run(extent3 blocks, K const& k) {
  using shared = typename K::shared;
  static_assert(kernel<K>, "a kernel is a trivially copyable struct with `threads` and `shared`: see core/kernel.hpp");
  static_assert(alignof(shared) <= detail::block_machine::shared_alignment);
  check(blocks.x > 0 && blocks.y > 0 && blocks.z > 0, "a launch of ", blocks.x, " x ", blocks.y, " x ", blocks.z,
        " blocks: every extent must be positive");
  check(blocks.y <= 65535 && blocks.z <= 65535, "a launch of ", blocks.x, " x ", blocks.y, " x ", blocks.z,
        " blocks: a GPU takes 65535 in the second and third extent");
  if (watch_.recording) kernels_.push_back(detail::kernel_name<K>());
  if (repeating_) launched_.push_back(text(detail::kernel_name<K>(), ' ', blocks.x, ' ', blocks.y, ' ', blocks.z));
  for (auto& m : machines_) m.prepare(detail::kernel_name<K>(), K::threads, sizeof(shared), watch_);
  int const count = blocks.x * blocks.y * blocks.z;
  pool_->run(count, [&](int chunk, int worker) {
    int const b = order_ == thread_order::forward ? chunk : count - 1 - chunk;
    extent3 const index{b % blocks.x, b / blocks.x % blocks.y, b / blocks.x / blocks.y};
    detail::block_machine& machine = machines_[std::size_t(worker)];
    std::vector<job<K>> jobs(static_cast<std::size_t>(K::threads));
    for (int t = 0; t < K::threads; ++t) jobs[std::size_t(t)] = {&machine, &k, index, blocks, t};
    machine.run_block(&entry<K>, jobs, index, order_);
  });
}

/// Runs `blocks` blocks of a kernel. Throws kernel_fault as said at `emulated`.
template <class K> void launch(emulated& dev, extent3 blocks, K const& k) { dev.run(blocks, k); }

}  // namespace unetdn
