// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: any bytes are read as nlohmann/json reads them, or refused as it refuses them; and as a text to
// quote they come back as they were.
#include "core/json_events.hpp"
#include "require.hpp"

namespace {

/// The peer skips a byte order mark and takes a zero byte for the end, which RFC 8259 does not allow.
bool is_comparable(std::string const& json) {
  return json.find('\0') == std::string::npos && !json.starts_with("\xEF\xBB\xBF");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(unsigned char const* data, std::size_t size) {
  std::string const json(reinterpret_cast<char const*>(data), size);
  auto const ours = json_events::events<json_events::finite_recorder>(json);
  if (is_comparable(json)) fuzz::require(ours == json_events::peer_events(json), "another meaning than the peer's");
  try {
    auto const quoted = json_events::events(unetdn::json_quoted(json));
    fuzz::require(quoted == unetdn::text("s", size, ":", json, " "), "quoting changed the text");
  } catch (unetdn::argument_error const& e) {
    fuzz::require_one_line(e);
  }
  return 0;
}
