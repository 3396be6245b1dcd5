// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "emulated_kernels.hpp"

namespace unetdn::test {

/// Runs kernels on the device and says whether their results are right.
using check_function = std::function<bool(emulated&)>;

/// What ignoring each synchronisation site in turn has shown.
struct site_report {
  std::vector<sync_site> noticed;    // ignoring it made the check fail
  std::vector<sync_site> unnoticed;  // ignoring it changed nothing: it is not needed, or the check is too weak
  std::vector<std::string> kernels;  // that the check runs
};

inline bool passes(check_function const& check, emulated& dev) {
  try {
    return check(dev);
  } catch (kernel_fault const&) {
    return false;
  }
}

/// Ignores each sync_site that the check's kernels execute in turn, in both thread orders.
inline site_report ignore_each_site(check_function const& check) {
  emulated whole;
  whole.record_sites();
  if (!passes(check, whole)) throw error("the check fails with every barrier in place");
  site_report report;
  report.kernels = whole.kernels();
  for (sync_site const& site : whole.sites()) {
    bool noticed = false;
    for (thread_order order : {thread_order::forward, thread_order::reverse}) {
      emulated dev{order};
      dev.ignore(site);
      noticed = noticed || !passes(check, dev);
    }
    (noticed ? report.noticed : report.unnoticed).push_back(site);
  }
  return report;
}

}  // namespace unetdn::test
