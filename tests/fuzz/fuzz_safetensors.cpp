// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: any bytes give a file_error or a file whose contents survive being written and read again.
#include <unetdn/safetensors.hpp>

#include "require.hpp"

using fuzz::require;

namespace {

std::vector<std::byte> written(unetdn::safetensors_file const& file) {
  unetdn::safetensors_writer writer;
  for (auto const& [key, value] : file.metadata()) writer.metadata(key, value);
  for (auto const& name : file.names()) {
    auto const& tensor = file.info(name);
    writer.add_bytes(name, tensor.dtype, tensor.shape, file.bytes(name));
    try {
      file.floats(name);
    } catch (unetdn::file_error const&) {
    }
  }
  return writer.bytes();
}

void check_round_trip(unetdn::safetensors_file const& file) {
  auto const first = written(file);
  unetdn::safetensors_file const again(first, "again");
  require(again.names() == file.names(), "the names changed");
  require(again.metadata() == file.metadata(), "the metadata changed");
  for (auto const& name : file.names()) {
    auto const a = file.bytes(name);
    auto const b = again.bytes(name);
    require(std::equal(a.begin(), a.end(), b.begin(), b.end()), "the data changed");
    require(again.info(name).shape == file.info(name).shape, "a shape changed");
    require(again.info(name).dtype == file.info(name).dtype, "a type changed");
  }
  require(written(again) == first, "writing twice gives other bytes");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(unsigned char const* data, std::size_t size) {
  auto const* const bytes = reinterpret_cast<std::byte const*>(data);
  try {
    check_round_trip(unetdn::safetensors_file({bytes, bytes + size}, "fuzz"));
  } catch (unetdn::file_error const& e) {
    fuzz::require_one_line(e);
  }
  return 0;
}
