// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>

#include <unetdn/core/sanitizer.hpp>

// UNETDN_FIBER_UCONTEXT: switch stacks by the C library instead of our own eight instructions.
#if !defined(__x86_64__) && !defined(UNETDN_FIBER_UCONTEXT)
  #define UNETDN_FIBER_UCONTEXT 1
#endif
#if defined(UNETDN_FIBER_UCONTEXT)
  #include <ucontext.h>
#endif
#if defined(UNETDN_ASAN)
  #include <sanitizer/common_interface_defs.h>
#elif defined(UNETDN_TSAN)
  #include <sanitizer/tsan_interface.h>
extern "C" void AnnotateIgnoreReadsBegin(char const*, int);
extern "C" void AnnotateIgnoreReadsEnd(char const*, int);
extern "C" void AnnotateIgnoreWritesBegin(char const*, int);
extern "C" void AnnotateIgnoreWritesEnd(char const*, int);
#endif

namespace unetdn::detail {

#if !defined(UNETDN_FIBER_UCONTEXT)
/// Pushes the registers that the x86-64 ABI lets no callee change, swaps stacks, and pops the same registers from the
/// other stack. A few nanoseconds, where swapcontext takes hundreds: it asks the kernel for the signal mask.
[[gnu::naked, gnu::noinline]] inline void switch_stack(void** /*save*/, void* /*load*/) {
  asm("pushq %rbp\n\t"
      "pushq %rbx\n\t"
      "pushq %r12\n\t"
      "pushq %r13\n\t"
      "pushq %r14\n\t"
      "pushq %r15\n\t"
      "movq %rsp, (%rdi)\n\t"
      "movq %rsi, %rsp\n\t"
      "popq %r15\n\t"
      "popq %r14\n\t"
      "popq %r13\n\t"
      "popq %r12\n\t"
      "popq %rbx\n\t"
      "popq %rbp\n\t"
      "popq %rdx\n\t"
      "jmpq *%rdx");
}
/// Where a fresh fiber's first switch arrives: calls r12(rbx), which never returns. The unwinder stops here.
[[gnu::naked, gnu::noinline]] inline void first_frame() {
  asm(".cfi_undefined rip\n\t"
      "movq %rbx, %rdi\n\t"
      "callq *%r12\n\t"
      "ud2");
}
#endif

// What ThreadSanitizer is told. While an `unseen` lives, the emulator's own accesses are hidden. What came before
// publish(token) is ordered before what comes after observe(token).
#if defined(UNETDN_TSAN)
  #define UNETDN_NO_TSAN __attribute__((no_sanitize("thread"), noinline))
class unseen {
 public:
  unseen() {
    AnnotateIgnoreReadsBegin("", 0);
    AnnotateIgnoreWritesBegin("", 0);
  }
  unseen(unseen const&) = delete;
  unseen& operator=(unseen const&) = delete;
  ~unseen() {
    AnnotateIgnoreWritesEnd("", 0);
    AnnotateIgnoreReadsEnd("", 0);
  }
};
inline void publish(void* token) { __tsan_release(token); }
inline void observe(void* token) { __tsan_acquire(token); }
#else
  #define UNETDN_NO_TSAN
class unseen {
 public:
  unseen() {}
};
inline void publish(void*) {}
inline void observe(void*) {}
#endif

/// A function with a stack of its own, which one thread runs in turns. It tells AddressSanitizer and ThreadSanitizer
/// what it does. To the latter each fiber is a thread and a switch orders nothing, so unsynchronised sharing is
/// reported.
class fiber {
 public:
  static constexpr std::size_t stack_bytes = 128 * 1024;

  fiber() = default;
  fiber(fiber const&) = delete;
  fiber& operator=(fiber const&) = delete;
  ~fiber() {
#if defined(UNETDN_TSAN)
    if (tsan_) __tsan_destroy_fiber(tsan_);
#endif
  }

  /// The next resume() calls entry(argument) on this fiber's stack. It must end in finish() and never return. Fibers of
  /// different colours use different cache sets: without that the hot ends of all stacks lie a power of two apart and
  /// evict one another.
  void start(void (*entry)(void*), void* argument, int colour) {
    if (!stack_) stack_.reset(new char[stack_bytes]);
    unpoison(stack_.get(), stack_bytes);  // the last fiber's functions never returned: their red zones are still there
#if defined(UNETDN_TSAN)
    if (!tsan_) tsan_ = __tsan_create_fiber(0);
#endif
    entry_ = entry;
    argument_ = argument;
    constexpr std::size_t colour_bytes = 1088;
    prepare(stack_bytes - std::size_t(colour) * colour_bytes % (stack_bytes / 4));
    publish(this);
  }

  /// Runs the fiber until it suspends or finishes.
  UNETDN_NO_TSAN void resume() {
#if defined(UNETDN_ASAN)
    void* fake_stack;
    __sanitizer_start_switch_fiber(&fake_stack, stack_.get(), stack_bytes);
#elif defined(UNETDN_TSAN)
    home_tsan_ = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(tsan_, __tsan_switch_to_fiber_no_sync);
#endif
    swap(home_, self_);
#if defined(UNETDN_ASAN)
    __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
  }

  /// Called on the fiber: goes back to whoever resumed it.
  void suspend() { leave(false); }
  /// Called on the fiber as its last act.
  void finish() {
    publish(this);
    leave(true);
  }

 private:
  UNETDN_NO_TSAN void leave([[maybe_unused]] bool for_good) {
#if defined(UNETDN_ASAN)
    void* fake_stack = nullptr;
    __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_stack, home_bottom_, home_bytes_);
#elif defined(UNETDN_TSAN)
    __tsan_switch_to_fiber(home_tsan_, __tsan_switch_to_fiber_no_sync);
#endif
    swap(self_, home_);
#if defined(UNETDN_ASAN)
    __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
  }

  static void first_entry(void* self) {
    observe(self);
    auto* f = static_cast<fiber*>(self);
#if defined(UNETDN_ASAN)
    __sanitizer_finish_switch_fiber(nullptr, &f->home_bottom_, &f->home_bytes_);
#endif
    f->entry_(f->argument_);
  }

#if defined(UNETDN_FIBER_UCONTEXT)
  void prepare(std::size_t usable_bytes) {
    getcontext(&self_);
    self_.uc_stack.ss_sp = stack_.get();
    self_.uc_stack.ss_size = usable_bytes;
    self_.uc_link = nullptr;
    auto const self = std::uint64_t(reinterpret_cast<std::uintptr_t>(this));
    makecontext(&self_, reinterpret_cast<void (*)()>(&ucontext_entry), 2, unsigned(self >> 32), unsigned(self));
  }
  static void ucontext_entry(unsigned high, unsigned low) {
    first_entry(reinterpret_cast<void*>(std::uintptr_t(std::uint64_t(high) << 32 | low)));
  }
  static void swap(ucontext_t& save, ucontext_t& load) { swapcontext(&save, &load); }

  ucontext_t self_, home_;
#else
  void prepare(std::size_t usable_bytes) {
    auto const top = reinterpret_cast<std::uintptr_t>(stack_.get() + usable_bytes) & ~std::uintptr_t(15);
    // What switch_stack pops: r15 r14 r13 r12 rbx rbp and the return address; then two words, so that the call in
    // first_frame finds the stack aligned as the ABI wants it.
    auto* frame = reinterpret_cast<void**>(top) - 9;
    for (int i = 0; i < 9; ++i) frame[i] = nullptr;
    frame[3] = reinterpret_cast<void*>(&first_entry);
    frame[4] = this;
    frame[6] = reinterpret_cast<void*>(&first_frame);
    self_ = frame;
  }
  static void swap(void*& save, void* load) { switch_stack(&save, load); }

  void* self_ = nullptr;
  void* home_ = nullptr;
#endif
  std::unique_ptr<char[]> stack_;
  void (*entry_)(void*) = nullptr;
  void* argument_ = nullptr;
#if defined(UNETDN_ASAN)
  void const* home_bottom_ = nullptr;
  std::size_t home_bytes_ = 0;
#elif defined(UNETDN_TSAN)
  void* tsan_ = nullptr;
  void* home_tsan_ = nullptr;
#endif
};

}  // namespace unetdn::detail
