// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <numeric>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

#include <unetdn/safetensors.hpp>

#include "catch.hpp"

using namespace std::string_literals;
using namespace std::string_view_literals;
using unetdn::safetensors_file;
using unetdn::safetensors_writer;

namespace {

std::vector<std::byte> bytes_of(std::string_view s) {
  auto const bytes = std::as_bytes(std::span(s));
  return {bytes.begin(), bytes.end()};
}

/// A file made of a header and data, its length bytes right.
std::vector<std::byte> file_of(std::string_view header, std::string_view data) {
  std::uint64_t const length = header.size();
  std::string all(sizeof length, '\0');
  std::memcpy(all.data(), &length, sizeof length);
  all += header;
  all += data;
  return bytes_of(all);
}

/// A header with one tensor, called t.
std::string one(std::string_view dtype, std::string_view shape, std::string_view offsets) {
  return unetdn::text(R"({"t":{"dtype":")", dtype, R"(","shape":)", shape, R"(,"data_offsets":)", offsets, "}}");
}

/// The message of the file_error (or argument_error) that `action` throws; "nothing thrown" otherwise.
template <class Error = unetdn::file_error> std::string message_of(std::function<void()> const& action) {
  try {
    action();
  } catch (Error const& e) {
    return e.what();
  }
  return "nothing thrown";
}

/// Requires that reading is refused in one line that names the file and contains `part`.
void require_refused(std::vector<std::byte> const& bytes, std::string const& part) {
  std::string const message = message_of([&] { safetensors_file(bytes, "x.safetensors"); });
  INFO(message);
  CHECK(message.substr(0, 15) == "x.safetensors: ");
  CHECK(message.find(part) != std::string::npos);
  CHECK(message.find('\n') == std::string::npos);
  CHECK(message.size() < 400);
}

/// A path for one test's file, removed at the end.
struct temporary_path {
  std::filesystem::path path = std::filesystem::temp_directory_path() /
                               unetdn::text("unetdn-safetensors-test-", static_cast<long>(::getpid()), ".safetensors");
  ~temporary_path() {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
  }
};

// Written by the Python package safetensors 0.8.0 (safetensors.torch.save) from tensors of every type it has to share.
constexpr auto python_file =
    "\xf8\x01\x00\x00\x00\x00\x00\x00"
    R"({"__metadata__":{"by":"safetensors"},"steps":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
    R"("pi":{"dtype":"F64","shape":[1],"data_offsets":[8,16]},"a.weight":{"dtype":"F32","shape":[1,3],)"
    R"("data_offsets":[16,28]},"none":{"dtype":"F32","shape":[0,4],"data_offsets":[28,28]},"i":{"dtype":"I32",)"
    R"("shape":[1],"data_offsets":[28,32]},"brain":{"dtype":"BF16","shape":[2],"data_offsets":[32,36]},)"
    R"("half":{"dtype":"F16","shape":[5],"data_offsets":[36,46]},"bytes":{"dtype":"U8","shape":[3],)"
    R"("data_offsets":[46,49]}} )"
    "\xcb\x04\xfbq\x1f\x01\x00\x00"
    "\x18-DT\xfb!\t@"
    "\x00\x00\xc0?\x00\x00\x00\xc0\x00\x00\x80>"
    "\xfb\xff\xff\xff"
    "I@J\xf1"
    "\x00<U\xb5\xff{\x01\x00\x00|"
    "\x00\xff\x07"sv;

// Another one, whose order of tensors is also ours.
constexpr auto python_file_in_our_order =
    "\x08\x01\x00\x00\x00\x00\x00\x00"
    R"({"__metadata__":{"by":"safetensors"},"z":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
    "\"a\\\"\xc3\xa9\":"
    R"({"dtype":"F32","shape":[1],"data_offsets":[8,12]},"b":{"dtype":"F32","shape":[1,3],"data_offsets":[12,24]},)"
    R"("half":{"dtype":"F16","shape":[1],"data_offsets":[24,26]}}  )"
    "\x07\x00\x00\x00\x00\x00\x00\x00"
    "\x00\x00\x80@"
    "\x00\x00\xc0?\x00\x00\x00\xc0\x00\x00\x80>"
    "\x00<"sv;

}  // namespace

TEST_CASE("safetensors: a file of the Python package is read") {
  safetensors_file const file(bytes_of(python_file), "python.safetensors");
  CHECK(file.names() == std::vector<std::string>{"a.weight", "brain", "bytes", "half", "i", "none", "pi", "steps"});
  CHECK(file.metadata() == std::map<std::string, std::string>{{"by", "safetensors"}});
  CHECK(file.metadata("by") == "safetensors");
  CHECK(file.info("a.weight").shape == std::vector<std::int64_t>{1, 3});
  CHECK(file.info("steps").shape.empty());
  CHECK(file.values<std::int64_t>("steps") == std::vector<std::int64_t>{1234567890123});
  CHECK(file.values<double>("pi") == std::vector<double>{3.141592653589793});
  CHECK(file.floats("pi") == std::vector<float>{3.14159274F});
  CHECK(file.values<float>("a.weight") == std::vector<float>{1.5F, -2.0F, 0.25F});
  CHECK(file.floats("a.weight") == std::vector<float>{1.5F, -2.0F, 0.25F});
  CHECK(file.floats("none").empty());
  CHECK(file.values<std::int32_t>("i") == std::vector<std::int32_t>{-5});
  CHECK(file.values<std::uint8_t>("bytes") == std::vector<std::uint8_t>{0, 255, 7});
  CHECK(file.floats("brain") == std::vector<float>{3.140625F, -1.00025555e30F});
  float const infinity = std::numeric_limits<float>::infinity();
  CHECK(file.floats("half") == std::vector<float>{1.0F, -0.333251953F, 65504.0F, 0x1p-24F, infinity});
}

TEST_CASE("safetensors: the writer's bytes are those of the Python package") {
  std::vector<float> const b{1.5F, -2.0F, 0.25F};
  std::vector<float> const a{4.0F};
  std::uint16_t const half = 0x3C00;
  safetensors_writer writer;
  writer.add_bytes("half", "F16", {1}, std::as_bytes(std::span(&half, 1)));
  writer.add("b", {1, 3}, b);
  writer.metadata("by", "replaced below");
  writer.add("a\"\xc3\xa9", {1}, a);
  writer.add("z", {}, std::vector<std::int64_t>{7});
  writer.metadata("by", "safetensors");
  CHECK(writer.bytes() == bytes_of(python_file_in_our_order));
}

TEST_CASE("safetensors: every 16-bit float has its value") {
  std::vector<std::uint16_t> bits(65536);
  std::iota(bits.begin(), bits.end(), std::uint16_t(0));
  safetensors_writer writer;
  writer.add_bytes("half", "F16", {65536}, std::as_bytes(std::span(bits)));
  writer.add_bytes("brain", "BF16", {256, 256}, std::as_bytes(std::span(bits)));
  safetensors_file const file(writer.bytes(), "x");
  auto const value = [](std::uint32_t b, int mantissa_bits, int bias) {
    int const exponent = static_cast<int>((b & 0x7FFFU) >> mantissa_bits);
    double const mantissa = std::ldexp(static_cast<double>(b & ((1U << mantissa_bits) - 1)), -mantissa_bits);
    double v = exponent == 0 ? std::ldexp(mantissa, 1 - bias) : std::ldexp(1 + mantissa, exponent - bias);
    if (exponent == 2 * bias + 1) v = mantissa == 0 ? std::numeric_limits<double>::infinity() : std::nan("");
    return (b & 0x8000U) != 0 ? -v : v;
  };
  auto const same = [](float got, double expected) {
    if (std::isnan(expected)) return std::isnan(got);
    return double(got) == expected && std::signbit(got) == std::signbit(expected);
  };
  auto const half = file.floats("half");
  auto const brain = file.floats("brain");
  int wrong = 0;
  for (std::uint32_t b = 0; b < 65536; ++b) wrong += same(half[b], value(b, 10, 15)) ? 0 : 1;
  CHECK(wrong == 0);
  for (std::uint32_t b = 0; b < 65536; ++b) wrong += same(brain[b], value(b, 7, 127)) ? 0 : 1;
  CHECK(wrong == 0);
}

TEST_CASE("safetensors: what is written is read, by way of the disk") {
  temporary_path const place;
  std::vector<float> floats(1000);
  for (std::size_t i = 0; i < floats.size(); ++i) floats[i] = static_cast<float>(i) / 7;
  floats[3] = std::numeric_limits<float>::quiet_NaN();
  std::vector<double> const doubles{1e300, -0.0};
  std::vector<std::uint64_t> const words{~0ULL};
  safetensors_writer writer;
  writer.add("floats", {10, 100}, floats);
  writer.add("doubles", {2}, doubles);
  writer.add("words", {1}, words);
  writer.add("empty", {3, 0}, std::vector<float>{});
  writer.add("temporary", {2}, std::vector<std::int32_t>{-1, 300});
  writer.metadata("note", "a line\nand \"another\"");
  writer.write(place.path);
  safetensors_file const file(place.path);
  CHECK(file.path() == place.path.string());
  CHECK(std::memcmp(file.bytes("floats").data(), floats.data(), 4000) == 0);
  CHECK(file.values<double>("doubles") == doubles);
  CHECK(std::signbit(file.values<double>("doubles")[1]));
  CHECK(file.values<std::uint64_t>("words") == words);
  CHECK(file.info("empty").shape == std::vector<std::int64_t>{3, 0});
  CHECK(file.values<std::int32_t>("temporary") == std::vector<std::int32_t>{-1, 300});
  CHECK(file.metadata("note") == "a line\nand \"another\"");
  CHECK(unetdn::read_file(place.path) == writer.bytes());
  CHECK(message_of([&] { writer.write(place.path / "no_folder"); }) != "nothing thrown");
}

TEST_CASE("safetensors: equal contents give equal bytes, aligned") {
  std::vector<float> const a{1, 2, 3};
  std::vector<double> const b{4};
  std::vector<std::uint8_t> const c{5, 6, 7};
  safetensors_writer forward, backward;
  forward.add("a", {3}, a);
  forward.add("b", {1}, b);
  forward.add("c", {3}, c);
  forward.metadata("one", "1");
  forward.metadata("two", "2");
  backward.metadata("two", "2");
  backward.metadata("one", "1");
  backward.add("c", {3}, c);
  backward.add("b", {1}, b);
  backward.add("a", {3}, a);
  CHECK(forward.bytes() == backward.bytes());
  safetensors_file const file(forward.bytes(), "x");
  std::uint64_t length = 0;
  std::memcpy(&length, forward.bytes().data(), 8);
  CHECK(length % 8 == 0);
  CHECK(file.info("b").begin == 0);
  CHECK(file.info("a").begin == 8);
  CHECK(file.info("c").begin == 20);
  CHECK(safetensors_file(safetensors_writer().bytes(), "empty").names().empty());
}

TEST_CASE("safetensors: every cut of a good file is refused") {
  auto const whole = bytes_of(python_file);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    std::vector<std::byte> const cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    INFO(size);
    CHECK_THROWS_AS(safetensors_file(cut, "cut"), unetdn::file_error);
  }
  auto longer = whole;
  longer.push_back(std::byte{0});
  require_refused(longer, "1 bytes after its last tensor");
}

TEST_CASE("safetensors: changed bytes never do worse than a file_error") {
  auto const whole = bytes_of(python_file);
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (int change : {0x01, 0x10, 0x80, 0xFF}) {
      auto damaged = whole;
      damaged[at] ^= static_cast<std::byte>(change);
      try {
        safetensors_file const file(damaged, "damaged");
        for (auto const& name : file.names()) CHECK(file.bytes(name).size() <= whole.size());
      } catch (unetdn::file_error const&) {
      }
    }
  }
}

TEST_CASE("safetensors: lengths that do not fit") {
  require_refused(bytes_of(""), "only 0 bytes");
  require_refused(bytes_of("1234567"), "only 7 bytes");
  require_refused(bytes_of("\xff\xff\xff\xff\xff\xff\xff\xff{}"sv), "more than the 100000000");
  require_refused(bytes_of("\x01\xe1\xf5\x05\0\0\0\0{}"sv), "100000001 bytes, more than the 100000000");
  require_refused(bytes_of("\x00\xe1\xf5\x05\0\0\0\0{}"sv), "goes beyond its end at 10");
  require_refused(bytes_of("\x03\0\0\0\0\0\0\0{}"sv), "goes beyond its end at 10");
  CHECK(safetensors_file(file_of("{}", ""), "x").names().empty());
  CHECK(safetensors_file(file_of("{}   ", ""), "x").names().empty());
}

TEST_CASE("safetensors: headers that are no JSON object") {
  require_refused(file_of("", ""), "does not begin with '{'");
  require_refused(file_of(" {}", ""), "does not begin with '{'");
  require_refused(file_of("[]", ""), "does not begin with '{'");
  require_refused(file_of("{", ""), "not valid JSON");
  require_refused(file_of("{} {}", ""), "not valid JSON");
  require_refused(file_of("{}\0junk"sv, ""), "zero byte");
  require_refused(file_of("{\"\xff\":1}", ""), "not valid JSON");
  require_refused(file_of(R"({"t":[1})", ""), "an array");
  require_refused(file_of(R"({"a":1})", ""), "tensor 'a' is a number instead of a JSON object");
  require_refused(file_of(R"({"a":null})", ""), "null");
  std::string deep = "{\"a\":";
  for (int i = 0; i < 1'000'000; ++i) deep += "{\"a\":";
  require_refused(file_of(deep, ""), "unknown field");
  require_refused(file_of("{\"t\":{\"shape\":" + std::string(1'000'000, '['), ""), "an array");
}

TEST_CASE("safetensors: headers that say nonsense") {
  std::string const data(16, '\0');
  CHECK(safetensors_file(file_of(one("F32", "[4]", "[0,16]"), data), "x").floats("t").size() == 4);
  require_refused(file_of(one("F32", "[4]", "[0,12]"), data), "needs 16 bytes, but its data_offsets span 12");
  require_refused(file_of(one("F32", "[4]", "[16,0]"), data), "end before they begin");
  require_refused(file_of(one("F32", "[5]", "[0,20]"), data), "beyond the end of the file");
  require_refused(file_of(one("F32", "[3]", "[0,12]"), data), "4 bytes after its last tensor");
  require_refused(file_of(one("F32", "[3]", "[4,16]"), data), "leaves a gap");
  require_refused(file_of(one("F32", "[3]", "[3,15]"), data), "not a multiple of 4");
  require_refused(file_of(one("F33", "[4]", "[0,16]"), data), "unknown dtype 'F33'");
  require_refused(file_of(one("f\\nx", "[4]", "[0,16]"), data), "unknown dtype 'f?x'");
  require_refused(file_of(one("F32", "[-4]", "[0,16]"), data), "a negative number");
  require_refused(file_of(one("F32", "[4.0]", "[0,16]"), data), "not a 64-bit integer");
  require_refused(file_of(one("F32", "[18446744073709551616]", "[0,16]"), data), "not a 64-bit integer");
  require_refused(file_of(one("F32", "[18446744073709551615]", "[0,16]"), data), "too large");
  require_refused(file_of(one("F32", "[4611686018427387904,4]", "[0,16]"), data), "too large");
  require_refused(file_of(one("F32", "[4611686018427387905,4]", "[0,16]"), data), "too large");
  require_refused(file_of(one("F32", "[2305843009213693952,2]", "[0,16]"), data), "too large");
  require_refused(file_of(one("F32", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,4]", "[0,16]"), data), "16 dimensions");
  require_refused(file_of(one("F32", "[4]", "[0]"), data), "needs two data_offsets");
  require_refused(file_of(one("F32", "[4]", "[0,16,16]"), data), "more than two data_offsets");
  require_refused(file_of(one("F32", "[4]", "16"), data), "a number");
  require_refused(file_of(one("F32", "[true]", "[0,16]"), data), "true or false");
  require_refused(file_of(one("F32", "\"4\"", "[0,16]"), data), "a string");
  require_refused(file_of(R"({"t":{"dtype":"F32","shape":[4]}})", data), "lacks one");
  require_refused(file_of(R"({"t":{"dtype":"F32","dtype":"F32"}})", data), "'dtype' twice");
  require_refused(file_of(R"({"t":{"colour":"F32"}})", data), "unknown field 'colour'");
  require_refused(file_of(R"({"t":{"dtype":4}})", data), "a number");
  require_refused(file_of(R"({"t":{"dtype":["F32"]}})", data), "an array");
  require_refused(file_of("{\"" + std::string(100'000, 'n') + "\":1}", data), "nnn...'");
}

TEST_CASE("safetensors: names given twice, tensors that overlap") {
  std::string const data(16, '\0');
  auto const tensor = [](std::string const& name, std::string const& count, std::string const& offsets) {
    return "\"" + name + R"(":{"dtype":"U8","shape":[)" + count + R"(],"data_offsets":)" + offsets + "}";
  };
  require_refused(file_of("{" + tensor("a", "8", "[0,8]") + "," + tensor("a", "8", "[8,16]") + "}", data),
                  "tensor 'a' is given twice");
  require_refused(file_of("{" + tensor("a", "9", "[0,9]") + "," + tensor("b", "8", "[8,16]") + "}", data),
                  "tensor 'b' at bytes 8 to 16 of the data overlaps");
  require_refused(file_of("{" + tensor("a", "16", "[0,16]") + "," + tensor("b", "16", "[0,16]") + "}", data),
                  "overlaps");
  require_refused(file_of("{" + tensor("a", "7", "[0,7]") + "," + tensor("b", "8", "[8,16]") + "}", data), "gap");
  require_refused(file_of(R"({"__metadata__":{},"__metadata__":{}})", ""), "__metadata__ is given twice");
  require_refused(file_of(R"({"__metadata__":{"k":"1","k":"2"}})", ""), "the key 'k' twice");
  require_refused(file_of(R"({"__metadata__":{"k":1}})", ""), "a number");
  require_refused(file_of(R"({"__metadata__":{"k":{}}})", ""), "an object");
  require_refused(file_of(R"({"__metadata__":"k"})", ""), "a string");
  // In any order of the header, and with empty tensors between, a full cover is a good file.
  safetensors_file const file(file_of("{" + tensor("b", "8", "[8,16]") + "," + tensor("e", "0", "[8,8]") + "," +
                                          tensor("a", "8", "[0,8]") + "," + tensor("z", "0", "[16,16]") + "}",
                                      data),
                              "x");
  CHECK(file.names().size() == 4);
}

TEST_CASE("safetensors: asking for what is not there") {
  safetensors_file const file(bytes_of(python_file), "p");
  std::string const remedy = "; the file is damaged or of another kind, take another";
  CHECK(message_of([&] { file.floats("weight"); }) == "p: has no tensor 'weight' among its 8" + remedy);
  CHECK(message_of([&] { file.floats("steps"); }) ==
        "p: tensor 'steps' is of type I64, not F32, F64, F16 or BF16" + remedy);
  CHECK(message_of([&] { file.values<float>("pi"); }) == "p: tensor 'pi' is of type F64, not F32" + remedy);
  CHECK(message_of([&] { file.metadata("x"); }) == "p: has no metadata 'x'" + remedy);
  CHECK(message_of([] { safetensors_file("no/such/file"); }).find("no/such/file: ") == 0);
}

TEST_CASE("safetensors: what cannot be written is refused") {
  using unetdn::argument_error;
  std::vector<float> const two{1, 2};
  safetensors_writer writer;
  writer.add("t", {2}, two);
  auto const refused = [&](std::function<void()> const& action, std::string const& part) {
    std::string const message = message_of<argument_error>(action);
    INFO(message);
    CHECK(message.find(part) != std::string::npos);
  };
  refused([&] { writer.add("t", {2}, two); }, "added twice");
  refused([&] { writer.add("u", {3}, two); }, "needs 12 bytes of values, not 8");
  refused([&] { writer.add("u", {-1, -2}, two); }, "cannot have the shape [-1,-2]");
  refused([&] { writer.add("__metadata__", {2}, two); }, "choose another name");
  refused([&] { writer.add_bytes("u", "F32x", {2}, std::as_bytes(std::span(two))); }, "unknown dtype");
  refused([&] { writer.add("u", std::vector<std::int64_t>(17, 1), two); }, "16 dimensions");
  writer.add("\xff", {2}, two);
  refused([&] { writer.bytes(); }, "not UTF-8");
}
