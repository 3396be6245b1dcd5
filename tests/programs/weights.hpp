// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <limits>
#include <map>

#include <unetdn/devices/cpu.hpp>
#include <unetdn/networks/unet.hpp>

#include "inputs.hpp"

// Good and bad weight files.

namespace inputs {

/// A small network for colours.
inline unetdn::unet_config small_network() {
  unetdn::unet_config c{3, 3, 8};
  c.levels = 1;
  return c;
}

inline unetdn::unet<float, unetdn::cpu> write_weights(fs::path const& path,
                                                      unetdn::unet_config const& config = small_network()) {
  unetdn::cpu device(1);
  unetdn::unet<float, unetdn::cpu> net(device, config);
  net.initialise(device, 1);
  net.save(device, path);
  return net;
}

/// The tensors of a weight file, one by one through `keep`, which may write them otherwise, and its notes, of which
/// `notes` replace some.
inline void rewrite_weights(fs::path const& from, fs::path const& to,
                            std::function<void(unetdn::safetensors_writer&, std::string const&,
                                               std::vector<std::int64_t>, std::vector<float>)> const& keep,
                            std::map<std::string, std::string> const& notes = {}) {
  unetdn::safetensors_file const file(from);
  unetdn::safetensors_writer writer;
  for (auto const& [key, value] : file.metadata()) writer.metadata(key, value);
  for (auto const& [key, value] : notes) writer.metadata(key, value);
  for (auto const& name : file.names()) keep(writer, name, file.info(name).shape, file.floats(name));
  writer.write(to);
}

/// Every bad weight file is refused in one line that names it; `command` makes a program's arguments of the file.
template <class Command> void refuse_bad_weights(fs::path const& folder, Command command) {
  fs::path const good = folder / "good.safetensors", bad = folder / "bad.safetensors";
  write_weights(good);
  std::string const bytes = file_contents(good), remedy = "; the file is damaged or of another kind, take another\n";
  auto const refuse_text = [&](std::string const& contents, std::string const& says) {
    write_text(bad, contents);
    refuses(command(bad), {bad, says, remedy}, 1);
  };
  refuses(command(folder / "missing"), {folder / "missing", "check the spelling"}, 1);
  refuses(command(folder), {folder, "is a folder"}, 1);
  {
    forbidden const file(good);
    refuses_without_permission(command(good), good);
  }
  refuse_text("", "0 bytes");
  refuse_text("not a network", "not a safetensors file");
  refuse_text(bytes.substr(0, bytes.size() - 4), "cut short");
  refuse_text(bytes + "1234", "after its last tensor");
  refuse_text(std::string("\0\0\0\4\0\0\0\0", 8) + bytes.substr(8), "header");
  std::string overlapping = bytes;
  std::size_t const second = overlapping.find("data_offsets\":[", overlapping.find("data_offsets\":[0,") + 1) + 15;
  overlapping[second] = '0';
  for (std::size_t i = second + 1; overlapping[i] != ','; ++i) overlapping[i] = ' ';
  refuse_text(overlapping, "tensor");

  std::string const name = "output.weight";
  auto const refuse_changed = [&](auto const& change, std::string const& says) {
    rewrite_weights(good, bad,
                    [&](unetdn::safetensors_writer& to, std::string const& tensor, std::vector<std::int64_t> shape,
                        std::vector<float> values) {
                      if (tensor == name) return change(to, std::move(shape), std::move(values));
                      to.add(tensor, std::move(shape), std::span<float const>(values));
                    });
    refuses(command(bad), {bad, says, remedy}, 1);
  };
  using shape_of = std::vector<std::int64_t>;
  refuse_changed([](auto&, shape_of const&, auto const&) {}, "tensors");
  refuse_changed(
      [&](auto& to, shape_of shape, std::vector<float> const& values) {
        to.add("other", std::move(shape), std::span<float const>(values));
      },
      name);
  refuse_changed(
      [&](auto& to, shape_of const&, std::vector<float> const& values) {
        to.add(name, {std::int64_t(values.size())}, std::span<float const>(values));
      },
      name);
  refuse_changed(
      [&](auto& to, shape_of shape, std::vector<float> const& values) {
        std::vector<std::int64_t> const whole(values.size(), 1);
        to.add(name, std::move(shape), std::span<std::int64_t const>(whole));
      },
      name);
  refuse_changed(
      [&](auto& to, shape_of shape, std::vector<float> values) {
        values.back() = std::numeric_limits<float>::infinity();
        to.add(name, std::move(shape), std::span<float const>(values));
      },
      "no finite number");

  auto const refuse_note = [&](std::string const& key, std::string const& value, std::string const& says) {
    auto const keep = [](auto& to, auto const& tensor, auto shape, auto const& values) {
      to.add(tensor, std::move(shape), std::span<float const>(values));
    };
    rewrite_weights(good, bad, keep, {{key, value}});
    refuses(command(bad), {bad, says, remedy}, 1);
  };
  refuse_note("unetdn.base", "999999992", "'999999992', which is no whole number below 1000000");
  refuse_note("unetdn.base", "999992", "not 999992");
  refuse_note("unetdn.bias", "perhaps", "'perhaps' instead of true or false");
  refuse_note("unetdn.network", "other", "'other', not a U-Net");
}

}  // namespace inputs
