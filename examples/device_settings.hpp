// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>

#include "command_line.hpp"

namespace programs {

/// Where a program computes. device.hpp knows the devices; who only takes the options need not compile them.
struct device_settings {
  std::string device = "auto", precision = "float";
};

inline void add_device_options(command_line& options, device_settings& s) {
  options.text("--device", s.device, "cpu, cuda (an NVIDIA GPU), or auto: a GPU where one can be used")
      .one_of({"auto", "cpu", "cuda"});
  options
      .text("--precision", s.precision,
            "what a GPU computes in: float, tf32 (float with rounded products), bf16 or fp16; the cpu has float")
      .one_of({"float", "tf32", "bf16", "fp16"});
}

}  // namespace programs
