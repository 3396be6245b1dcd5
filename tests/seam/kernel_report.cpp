// SPDX-License-Identifier: Apache-2.0
// What nvcc and ptxas made of each kernel, as a Markdown table; fails where a kernel uses local memory (spills, or a
// stack frame), or where a convolution does not use what it was written for: matrix instructions, and 16 bytes at a
// time.
//
//   kernel_report 90 FOLDER    the architecture, and the folder in which `files` names what the compiler has left there
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cxxabi.h>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>
#include <string>
#include <typeinfo>
#include <vector>

#include <unetdn/core/error.hpp>

#include "headers.inc"

namespace {

using namespace unetdn;

/// A kernel and the shared memory of its block. That is always the dynamic kind, of which ptxas knows nothing.
struct instantiation {
  std::string name;
  int threads;
  std::size_t shared_bytes;
  bool for_hopper;
};

std::string demangled(char const* symbol) {
  int status = 0;
  char* const text = abi::__cxa_demangle(symbol, nullptr, nullptr, &status);
  std::string const name = status == 0 ? text : symbol;
  std::free(text);
  return name;
}

template <class K> instantiation entry() {
  using shared = typename K::shared;
  return {demangled(typeid(K).name()), K::threads, std::is_empty_v<shared> ? 0 : sizeof(shared), by_warpgroups<K>};
}

/// Every kernel that kernels/*.cu instantiate.
std::vector<instantiation> instantiations() {
  return {
#include "instantiations.inc"
  };
}

/// What the compilers say about one kernel.
struct facts {
  int registers = -1, stack = -1, spills = -1;
  bool serialised = false;  // products of warpgroups wait for each other
  int matrix_products = 0;  // mma.sync, wgmma
  int async_copies = 0;     // cp.async of 16 bytes
  int wide_accesses = 0;    // loads and stores of 16 bytes in global memory
  int narrow_accesses = 0;  // of less
};

std::string contents(std::filesystem::path const& file) {
  std::ifstream in(file);
  check(bool(in), "cannot read ", file.string(), ": build the target kernel_report");
  std::ostringstream all;
  all << in.rdbuf();
  return all.str();
}

/// The K of unetdn::detail::run_kernel<K>; empty for other symbols.
std::string kernel_of(std::string const& symbol) {
  std::string const whole = demangled(symbol.c_str());
  std::string const before = "run_kernel<";
  std::size_t const from = whole.find(before);
  std::size_t const to = whole.rfind(">(");
  if (from == whole.npos || to == whole.npos) return {};
  std::string name = whole.substr(from + before.size(), to - from - before.size());
  while (!name.empty() && name.back() == ' ') name.pop_back();
  return name;
}

/// `gpu`: sm_90, say, whose kernels may be for sm_90a.
void read_assembler(std::string const& said, std::string const& gpu, std::map<std::string, facts>& all) {
  static std::regex const compiling("Compiling entry function '([^']+)' for '([^']+)'");
  static std::regex const serialising("instructions are serialized .* in the function '([^']+)'");
  static std::regex const memory("(\\d+) bytes stack frame, (\\d+) bytes spill stores, (\\d+) bytes spill loads");
  static std::regex const used("Used (\\d+) registers");
  std::istringstream lines(said);
  std::string kernel;
  for (std::string line; std::getline(lines, line);) {
    std::smatch m;
    if (std::regex_search(line, m, serialising)) all[kernel_of(m[1])].serialised = true;
    if (std::regex_search(line, m, compiling)) {
      bool const for_gpu = m[2] == gpu || m[2] == gpu + "a";  // Hopper's own kernels are for sm_90a
      kernel = for_gpu ? kernel_of(m[1]) : std::string();
    }
    if (kernel.empty()) continue;
    if (std::regex_search(line, m, memory)) {
      all[kernel].stack = std::stoi(m[1]);
      all[kernel].spills = std::stoi(m[2]) + std::stoi(m[3]);
    }
    if (std::regex_search(line, m, used)) all[kernel].registers = std::stoi(m[1]);
  }
}

void read_ptx(std::string const& ptx, std::map<std::string, facts>& all) {
  std::istringstream lines(ptx);
  std::string kernel;
  for (std::string line; std::getline(lines, line);) {
    auto const has = [&](char const* word) { return line.find(word) != line.npos; };
    if (std::size_t const at = line.find(".entry "); at != line.npos) {
      std::size_t const end = line.find_first_of("( ", at + 7);
      kernel = kernel_of(line.substr(at + 7, end - at - 7));
    }
    facts& f = all[kernel];
    if (has("mma.sync") || has("wgmma.mma_async")) ++f.matrix_products;
    if (has("cp.async.cg.shared.global")) ++f.async_copies;
    if (has("ld.global") || has("st.global")) {
      bool const wide = has(".v4.b32") || has(".v4.u32") || has(".v4.f32") || has(".v2.b64") || has(".v2.u64");
      ++(wide ? f.wide_accesses : f.narrow_accesses);
    }
  }
}

/// What is wrong with a kernel; empty where nothing is.
std::string complaint(std::string const& name, facts const& f) {
  if (f.registers < 0 || f.stack < 0) return "is not in the compilers' output";
  if (f.stack > 0) return "has a stack frame: a loop over a register array is not unrolled";
  if (f.spills > 0) return "spills registers";
  if (f.serialised) return "has products that wait for each other: ptxas' message C75.. says why";
  bool const convolution = name.find("::conv2d_") != name.npos || name.find("::conv_transpose2d_") != name.npos;
  if (!convolution) return {};
  bool const on_tensor_cores = name.find("<float") == name.npos;
  if (on_tensor_cores && f.matrix_products == 0) return "has no matrix instruction";
  if (f.async_copies == 0) return "has no asynchronous copy of 16 bytes";
  if (name.find("weight_gradient") == name.npos && f.wide_accesses == 0) return "stores no 16 bytes at a time";
  return {};
}

int run(std::string const& architecture, std::filesystem::path const& folder) {
  std::map<std::string, facts> all;
  std::string const gpu = "sm_" + architecture;
  std::istringstream files(contents(folder / "files"));
  for (std::string file; std::getline(files, file);) {
    if (file.ends_with(".txt"))
      read_assembler(contents(folder / file), gpu, all);
    else
      read_ptx(contents(folder / file), all);
  }
  std::printf("For %s:\n\n", gpu.c_str());
  std::puts(
      "| kernel | threads | registers | shared memory | stack | spills | mma | 16-byte copies | 16-byte accesses | "
      "others |");
  std::puts("|---|---|---|---|---|---|---|---|---|---|");
  int faults = 0;
  std::size_t count = 0;
  for (instantiation const& k : instantiations()) {
    if (k.for_hopper && architecture.substr(0, 2) != "90") continue;
    ++count;
    facts const f = all[k.name];
    std::string name = k.name;
    for (std::size_t at; (at = name.find("unetdn::")) != name.npos;) name.erase(at, 8);
    if (name.rfind("kernels::", 0) == 0) name.erase(0, 9);
    std::printf("| %s | %d | %d | %zu | %d | %d | %d | %d | %d | %d |\n", name.c_str(), k.threads, f.registers,
                k.shared_bytes, f.stack, f.spills, f.matrix_products, f.async_copies, f.wide_accesses,
                f.narrow_accesses);
    if (std::string const wrong = complaint(k.name, f); !wrong.empty()) {
      std::printf("kernel_report: %s %s\n", name.c_str(), wrong.c_str());
      ++faults;
    }
  }
  std::printf("%zu kernels, %d faults\n", count, faults);
  return faults == 0 && count > 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) try {
  check(argc == 3, "usage: kernel_report ARCHITECTURE FOLDER");
  return run(argv[1], argv[2]);
} catch (std::exception const& e) {
  std::fprintf(stderr, "kernel_report: %s\n", e.what());
  return 1;
}
