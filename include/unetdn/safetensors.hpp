// SPDX-License-Identifier: Apache-2.0
#pragma once
// safetensors files: eight bytes with the header's length, a JSON header with names, types, shapes and offsets, then
// raw little-endian data (https://huggingface.co/docs/safetensors). Whatever is read is untrusted.
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <unetdn/core/error.hpp>
#include <unetdn/core/file.hpp>
#include <unetdn/core/half.hpp>
#include <unetdn/core/json.hpp>

namespace unetdn {

static_assert(std::endian::native == std::endian::little,
              "safetensors data is little-endian, and so must the machine be");

/// What a safetensors header says of one tensor; its data are the bytes [begin, end) after the header.
struct tensor_info {
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0, end = 0;

  friend bool operator==(tensor_info const&, tensor_info const&) = default;
};

namespace detail {

// The limit of the format's own library.
inline constexpr std::uint64_t largest_header = 100'000'000;
inline constexpr std::size_t largest_rank = 16;
inline constexpr char const* metadata_key = "__metadata__";

/// Bytes of one element, 0 for a type that is not known.
inline std::uint64_t bytes_of_dtype(std::string_view dtype) {
  if (dtype == "BOOL" || dtype == "U8" || dtype == "I8") return 1;
  if (dtype == "F8_E4M3" || dtype == "F8_E5M2" || dtype == "F8_E8M0") return 1;
  if (dtype == "U16" || dtype == "I16" || dtype == "F16" || dtype == "BF16") return 2;
  if (dtype == "U32" || dtype == "I32" || dtype == "F32") return 4;
  if (dtype == "U64" || dtype == "I64" || dtype == "F64" || dtype == "C64") return 8;
  return 0;
}

/// The safetensors name of an element type.
template <class T> constexpr char const* dtype_of() {
  if constexpr (std::is_same_v<T, float>)
    return "F32";
  else if constexpr (std::is_same_v<T, double>)
    return "F64";
  else if constexpr (std::is_same_v<T, std::int64_t>)
    return "I64";
  else if constexpr (std::is_same_v<T, std::uint64_t>)
    return "U64";
  else if constexpr (std::is_same_v<T, std::int32_t>)
    return "I32";
  else if constexpr (std::is_same_v<T, std::uint32_t>)
    return "U32";
  else if constexpr (std::is_same_v<T, std::int16_t>)
    return "I16";
  else if constexpr (std::is_same_v<T, std::uint16_t>)
    return "U16";
  else if constexpr (std::is_same_v<T, std::int8_t>)
    return "I8";
  else {
    static_assert(std::is_same_v<T, std::uint8_t>, "safetensors holds float, double and integers of 8 to 64 bits");
    return "U8";
  }
}

/// Refuses a file for what it holds.
[[noreturn]] inline void refuse_contents(std::string const& path, std::string const& what) {
  throw file_error(path, what + "; the file is damaged or of another kind, take another");
}

/// An untrusted string for a one-line message: in quotes, cut to 80 characters, control characters shown as '?'.
inline std::string in_quotes(std::string_view s) {
  std::size_t const longest = 80;
  return "'" + printable(s.substr(0, longest)) + (s.size() > longest ? "...'" : "'");
}

inline std::string shape_text(std::vector<std::int64_t> const& shape) {
  std::string out = "[";
  for (std::int64_t extent : shape) out += text(out.size() > 1 ? "," : "", extent);
  return out + "]";
}

/// Sets `product` to the number of elements times `element_bytes`; false when it does not fit in 63 bits.
inline bool bytes_of_shape(std::vector<std::int64_t> const& shape, std::uint64_t element_bytes,
                           std::uint64_t& product) {
  auto const largest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  product = element_bytes;
  for (std::int64_t extent : shape) {
    if (extent < 0) return false;
    auto const factor = static_cast<std::uint64_t>(extent);
    if (factor != 0 && product > largest / factor) return false;
    product *= factor;
  }
  return true;
}

/// Reads a header by events, so that no more is stored than the header may say: nesting ends where the format ends it,
/// and a name given twice is seen. Throws file_error.
class safetensors_header_reader {
 public:
  safetensors_header_reader(std::string const& path, std::map<std::string, tensor_info>& tensors,
                            std::map<std::string, std::string>& metadata)
      : path_{path}, tensors_{tensors}, metadata_{metadata} {}

  // The events of read_json.
  void null() { unexpected("null"); }
  void boolean(bool) { unexpected("true or false"); }
  void number_integer(std::int64_t) { unexpected("a negative number"); }
  void number_float(std::string_view) { unexpected("a number that is not a 64-bit integer"); }

  void number_unsigned(std::uint64_t value) {
    if (place_ == place::shape) {
      if (tensor_.shape.size() == largest_rank) fail(text("has more than ", largest_rank, " dimensions"));
      if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        fail(text("has a dimension of ", value, ", which is too large"));
      }
      tensor_.shape.push_back(static_cast<std::int64_t>(value));
      return;
    }
    if (place_ != place::offsets) unexpected("a number");
    if (offsets_ == 2) fail("has more than two data_offsets");
    (offsets_ == 0 ? tensor_.begin : tensor_.end) = value;
    ++offsets_;
  }

  void string(std::string const& value) {
    if (place_ == place::metadata) {
      metadata_[field_] = value;
      return;
    }
    if (place_ != place::tensor || field_ != "dtype") unexpected("a string");
    if (bytes_of_dtype(value) == 0) fail("has the unknown dtype " + in_quotes(value));
    tensor_.dtype = value;
  }

  void start_object() {
    if (place_ == place::outside) {
      place_ = place::header;
    } else if (place_ == place::header && name_ == metadata_key) {
      place_ = place::metadata;
    } else if (place_ == place::header) {
      place_ = place::tensor;
      tensor_ = {};
      offsets_ = 0;
      has_dtype_ = has_shape_ = has_offsets_ = false;
    } else {
      unexpected("an object");
    }
  }

  void key(std::string const& value) {
    if (place_ == place::header) {
      name_ = value;
      if (name_ == metadata_key ? has_metadata_ : tensors_.contains(name_)) fail("is given twice");
      if (name_ == metadata_key) has_metadata_ = true;
    } else if (place_ == place::metadata) {
      if (metadata_.contains(value)) fail("has the key " + in_quotes(value) + " twice");
      field_ = value;
    } else {
      field_ = value;
      bool* const seen = field_ == "dtype"          ? &has_dtype_
                         : field_ == "shape"        ? &has_shape_
                         : field_ == "data_offsets" ? &has_offsets_
                                                    : nullptr;
      if (seen == nullptr) fail("has the unknown field " + in_quotes(field_));
      if (*seen) fail("has the field " + in_quotes(field_) + " twice");
      *seen = true;
    }
  }

  void end_object() {
    if (place_ == place::header) {
      place_ = place::outside;
      return;
    }
    if (place_ == place::tensor) {
      if (!has_dtype_ || !has_shape_ || !has_offsets_) fail("needs dtype, shape and data_offsets, and lacks one");
      check_size();
      tensors_.emplace(name_, std::move(tensor_));
    }
    place_ = place::header;
  }

  void start_array() {
    if (place_ != place::tensor || field_ == "dtype") unexpected("an array");
    place_ = field_ == "shape" ? place::shape : place::offsets;
  }

  void end_array() {
    if (place_ == place::offsets && offsets_ != 2) fail("needs two data_offsets");
    place_ = place::tensor;
  }

  void parse_error(std::size_t position) {
    detail::refuse_contents(path_, text("the header is not valid JSON, from its byte ", position, " on"));
  }

 private:
  enum class place { outside, header, metadata, tensor, shape, offsets };

  [[noreturn]] void fail(std::string const& what) const {
    detail::refuse_contents(path_, (name_ == metadata_key ? name_ : "tensor " + in_quotes(name_)) + " " + what);
  }

  [[noreturn]] void unexpected(char const* what) const {
    if (place_ == place::header) fail(text("is ", what, " instead of a JSON object"));
    fail(text("has ", what, " where the format does not allow it, in the field ", in_quotes(field_)));
  }

  void check_size() const {
    if (tensor_.begin > tensor_.end) {
      fail(text("has data_offsets [", tensor_.begin, ", ", tensor_.end, "], which end before they begin"));
    }
    std::uint64_t const element = bytes_of_dtype(tensor_.dtype);
    std::uint64_t needed = 0;
    if (!bytes_of_shape(tensor_.shape, element, needed)) {
      fail("has the shape " + shape_text(tensor_.shape) + ", which is too large");
    }
    if (tensor_.end - tensor_.begin != needed) {
      fail(text("of type ", tensor_.dtype, " and shape ", shape_text(tensor_.shape), " needs ", needed,
                " bytes, but its data_offsets span ", tensor_.end - tensor_.begin));
    }
    if (tensor_.begin % element != 0) {
      fail(
          text("of type ", tensor_.dtype, " begins at byte ", tensor_.begin, ", which is not a multiple of ", element));
    }
  }

  std::string const& path_;
  std::map<std::string, tensor_info>& tensors_;
  std::map<std::string, std::string>& metadata_;
  place place_ = place::outside;
  std::string name_, field_;
  tensor_info tensor_;
  int offsets_ = 0;
  bool has_metadata_ = false, has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
};

}  // namespace detail

/// A safetensors file, read whole and checked before anything is believed.
///
/// Every refusal is a file_error that names the file and what is wrong: a length that does not fit, a header that is
/// not what the format says, a tensor given twice, of unknown type, of a size other than its shape's, misaligned,
/// outside the file, overlapping another, or bytes that belong to none.
class safetensors_file {
 public:
  explicit safetensors_file(std::filesystem::path const& path) : safetensors_file(read_file(path), path.string()) {}

  /// The same from memory; `name` stands for the path in messages.
  safetensors_file(std::vector<std::byte> bytes, std::string name) : path_{std::move(name)}, bytes_{std::move(bytes)} {
    read_header();
    check_layout();
  }

  std::string const& path() const { return path_; }

  /// The tensors' names, sorted.
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (auto const& entry : tensors_) all.push_back(entry.first);
    return all;
  }

  bool contains(std::string const& name) const { return tensors_.contains(name); }

  /// Type and shape of a tensor. Throws file_error when there is none of that name.
  tensor_info const& info(std::string const& name) const {
    auto const found = tensors_.find(name);
    if (found == tensors_.end()) {
      detail::refuse_contents(path_, text("has no tensor ", detail::in_quotes(name), " among its ", tensors_.size()));
    }
    return found->second;
  }

  /// What the file's writer noted, by key.
  std::map<std::string, std::string> const& metadata() const { return metadata_; }

  /// One note of the file's writer. Throws file_error when there is none of that key.
  std::string const& metadata(std::string const& key) const {
    auto const found = metadata_.find(key);
    if (found == metadata_.end()) detail::refuse_contents(path_, "has no metadata " + detail::in_quotes(key));
    return found->second;
  }

  /// A tensor's data as they are in the file, valid as long as this object. Throws file_error when there is none.
  std::span<std::byte const> bytes(std::string const& name) const {
    tensor_info const& tensor = info(name);
    return data().subspan(static_cast<std::size_t>(tensor.begin), static_cast<std::size_t>(tensor.end - tensor.begin));
  }

  /// A tensor's elements, exactly. Throws file_error when there is no such tensor or its type is another.
  template <class T> std::vector<T> values(std::string const& name) const {
    if (info(name).dtype != detail::dtype_of<T>()) {
      detail::refuse_contents(path_, text("tensor ", detail::in_quotes(name), " is of type ", info(name).dtype,
                                          ", not ", detail::dtype_of<T>()));
    }
    return copy<T>(name);
  }

  /// A tensor's elements in single precision, from F32, F64, F16 or BF16. Throws file_error for other types.
  std::vector<float> floats(std::string const& name) const {
    std::string const& dtype = info(name).dtype;
    if (dtype == "F32") return copy<float>(name);
    if (dtype == "F64") return narrowed<double>(name);
    if (dtype == "F16") return narrowed<fp16>(name);
    if (dtype == "BF16") return narrowed<bf16>(name);
    detail::refuse_contents(
        path_, text("tensor ", detail::in_quotes(name), " is of type ", dtype, ", not F32, F64, F16 or BF16"));
  }

 private:
  std::span<std::byte const> data() const { return std::span(bytes_).subspan(data_begin_); }

  template <class T> std::vector<T> copy(std::string const& name) const {
    std::span<std::byte const> const from = bytes(name);
    std::vector<T> to(from.size() / sizeof(T));
    if (!from.empty()) std::memcpy(to.data(), from.data(), from.size());
    return to;
  }

  template <class T> std::vector<float> narrowed(std::string const& name) const {
    std::vector<T> const from = copy<T>(name);
    std::vector<float> to(from.size());
    std::transform(from.begin(), from.end(), to.begin(), [](T x) { return static_cast<float>(x); });
    return to;
  }

  void read_header() {
    std::uint64_t length = 0;
    if (bytes_.size() < sizeof length) {
      detail::refuse_contents(path_, text("is not a safetensors file: it has only ", bytes_.size(), " bytes"));
    }
    std::memcpy(&length, bytes_.data(), sizeof length);
    if (length > detail::largest_header) {
      detail::refuse_contents(path_, text("is not a safetensors file: its header would have ", length,
                                          " bytes, more than the ", detail::largest_header, " that the format allows"));
    }
    if (length > bytes_.size() - sizeof length) {
      detail::refuse_contents(path_, text("is cut short or not a safetensors file: its header of ", length,
                                          " bytes goes beyond its end at ", bytes_.size()));
    }
    data_begin_ = sizeof length + static_cast<std::size_t>(length);
    std::string_view const header(reinterpret_cast<char const*>(bytes_.data()) + sizeof length,
                                  static_cast<std::size_t>(length));
    if (header.empty() || header.front() != '{') {
      detail::refuse_contents(path_, "is not a safetensors file: its header does not begin with '{'");
    }
    // Padding with zero bytes instead of spaces is a likely mistake and gets a message of its own.
    if (header.find('\0') != std::string_view::npos) detail::refuse_contents(path_, "the header contains a zero byte");
    detail::safetensors_header_reader reader(path_, tensors_, metadata_);
    read_json(header, reader);
  }

  [[noreturn]] void refuse(std::string const& name, tensor_info const& tensor, char const* what) const {
    detail::refuse_contents(path_, text("tensor ", detail::in_quotes(name), " at bytes ", tensor.begin, " to ",
                                        tensor.end, " of the data ", what));
  }

  // In the order of their offsets the tensors must follow each other without gap up to the end of the file.
  void check_layout() const {
    std::vector<std::pair<std::string const*, tensor_info const*>> order;
    for (auto const& [name, tensor] : tensors_) order.emplace_back(&name, &tensor);
    std::sort(order.begin(), order.end(), [](auto const& a, auto const& b) {
      return std::pair(a.second->begin, a.second->end) < std::pair(b.second->begin, b.second->end);
    });
    std::uint64_t const size = data().size();
    std::uint64_t reached = 0;
    for (auto const& [name, tensor] : order) {
      if (tensor->end > size) refuse(*name, *tensor, "goes beyond the end of the file: it is cut short");
      if (tensor->begin < reached) refuse(*name, *tensor, "overlaps another one");
      if (tensor->begin > reached) refuse(*name, *tensor, "leaves a gap before it");
      reached = tensor->end;
    }
    if (reached != size) detail::refuse_contents(path_, text("has ", size - reached, " bytes after its last tensor"));
  }

  std::string path_;
  std::vector<std::byte> bytes_;
  std::size_t data_begin_ = 0;
  std::map<std::string, tensor_info> tensors_;
  std::map<std::string, std::string> metadata_;
};

/// Collects tensors and notes, and writes them as one safetensors file.
///
/// Equal contents give equal bytes, in whatever order they were added: tensors lie by falling element size, then by
/// name, so that each is aligned; data begin at a multiple of 8.
class safetensors_writer {
 public:
  /// Adds a tensor; the values are copied. Throws argument_error when the name is taken or the number of values is not
  /// that of the shape.
  void add(std::string name, std::vector<std::int64_t> shape, std::span<float const> values) {
    add_values(std::move(name), std::move(shape), values);
  }
  void add(std::string name, std::vector<std::int64_t> shape, std::span<double const> values) {
    add_values(std::move(name), std::move(shape), values);
  }
  void add(std::string name, std::vector<std::int64_t> shape, std::span<std::int64_t const> values) {
    add_values(std::move(name), std::move(shape), values);
  }
  void add(std::string name, std::vector<std::int64_t> shape, std::span<std::uint64_t const> values) {
    add_values(std::move(name), std::move(shape), values);
  }
  void add(std::string name, std::vector<std::int64_t> shape, std::span<std::int32_t const> values) {
    add_values(std::move(name), std::move(shape), values);
  }
  void add(std::string name, std::vector<std::int64_t> shape, std::span<std::uint8_t const> values) {
    add_values(std::move(name), std::move(shape), values);
  }
  /// Adds a tensor of any of the format's types by its bytes, which are copied.
  void add_bytes(std::string name, std::string dtype, std::vector<std::int64_t> shape,
                 std::span<std::byte const> bytes) {
    std::uint64_t const element = detail::bytes_of_dtype(dtype);
    std::uint64_t needed = 0;
    check(name != detail::metadata_key, "a tensor cannot be named ", detail::metadata_key, "; choose another name");
    check(!tensors_.contains(name), "tensor ", detail::in_quotes(name),
          " was added twice; give each a name of its own");
    check(element != 0, "tensor ", detail::in_quotes(name), " has the unknown dtype ", detail::in_quotes(dtype));
    check(shape.size() <= detail::largest_rank, "tensor ", detail::in_quotes(name), " has more than ",
          detail::largest_rank, " dimensions");
    check(detail::bytes_of_shape(shape, element, needed), "tensor ", detail::in_quotes(name), " cannot have the shape ",
          detail::shape_text(shape));
    check(bytes.size() == needed, "tensor ", detail::in_quotes(name), " of type ", dtype, " and shape ",
          detail::shape_text(shape), " needs ", needed, " bytes of values, not ", bytes.size());
    tensors_.emplace(std::move(name), entry{std::move(dtype), std::move(shape), {bytes.begin(), bytes.end()}});
  }

  /// Notes something about the file; a second note of the same key replaces the first.
  void metadata(std::string key, std::string value) { metadata_[std::move(key)] = std::move(value); }

  /// Writes the file: whole or not at all. Throws file_error when it cannot be written, argument_error when a name or
  /// note is not UTF-8.
  void write(std::filesystem::path const& path) const {
    std::string const first = header();
    atomic_file file(path);
    file.write(std::as_bytes(std::span(first)));
    for (auto const* tensor : in_file_order()) file.write(tensor->second.bytes);
    file.commit();
  }

  /// The file's contents in memory. Throws argument_error when a name or note is not UTF-8.
  std::vector<std::byte> bytes() const {
    std::string const first = header();
    auto const start = std::as_bytes(std::span(first));
    std::vector<std::byte> all(start.begin(), start.end());
    for (auto const* tensor : in_file_order()) {
      all.insert(all.end(), tensor->second.bytes.begin(), tensor->second.bytes.end());
    }
    return all;
  }

 private:
  struct entry {
    std::string dtype;
    std::vector<std::int64_t> shape;
    std::vector<std::byte> bytes;
  };
  using named_entry = std::pair<std::string const, entry>;

  template <class T> void add_values(std::string name, std::vector<std::int64_t> shape, std::span<T const> values) {
    add_bytes(std::move(name), detail::dtype_of<T>(), std::move(shape), std::as_bytes(values));
  }

  std::vector<named_entry const*> in_file_order() const {
    std::vector<named_entry const*> order;
    for (named_entry const& tensor : tensors_) order.push_back(&tensor);
    std::stable_sort(order.begin(), order.end(), [](named_entry const* a, named_entry const* b) {
      return detail::bytes_of_dtype(a->second.dtype) > detail::bytes_of_dtype(b->second.dtype);
    });
    return order;
  }

  static std::string json_string(std::string const& s) {
    if (detail::utf8_end(s) != s.size()) {
      throw argument_error("the name or note " + detail::in_quotes(s) + " is not UTF-8, as safetensors files need");
    }
    return json_quoted(s);
  }

  // The eight length bytes and the header, padded with spaces to a multiple of 8.
  std::string header() const {
    std::string json = "{";
    if (!metadata_.empty()) {
      json += text(json_string(detail::metadata_key), ":{");
      for (auto const& [key, value] : metadata_) json += text(json_string(key), ":", json_string(value), ",");
      json.back() = '}';
      json += ',';
    }
    std::uint64_t begin = 0;
    for (auto const* tensor : in_file_order()) {
      auto const& [dtype, shape, bytes] = tensor->second;
      std::uint64_t const end = begin + bytes.size();
      json += text(json_string(tensor->first), ":{\"dtype\":\"", dtype, "\",\"shape\":", detail::shape_text(shape),
                   ",\"data_offsets\":[", begin, ",", end, "]},");
      begin = end;
    }
    if (json.back() == ',') json.pop_back();
    json += '}';
    json.resize((json.size() + 7) / 8 * 8, ' ');
    std::uint64_t const length = json.size();
    check(length <= detail::largest_header, "a safetensors header of ", length, " bytes is larger than the ",
          detail::largest_header, " that the format allows; write fewer or shorter names");
    char prefix[sizeof length];
    std::memcpy(prefix, &length, sizeof length);
    return std::string(prefix, sizeof length) + json;
  }

  std::map<std::string, entry> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace unetdn
