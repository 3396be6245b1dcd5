// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <unetdn/ops/elementwise.hpp>

namespace unetdn {

/// Joins a skip connection and a decoder's tensor along the channels, the skip first. For networks that cannot let the
/// producers write straight into the joined buffer, as the U-Net does. No parameters; backward needs nothing.
template <class T, class Device> class concat_skip {
 public:
  /// skip[N,H,W,A], up[N,H,W,B] -> y[N,H,W,A+B]. Throws argument_error where a shape does not fit.
  void forward(Device& dev, view<T const> skip, view<T const> up, view<T> y) const {
    check_channels(skip, up, y);
    copy<T>(dev, skip, y.channels(0, skip.c));
    copy<T>(dev, up, y.channels(skip.c, up.c));
  }

  /// Splits dy into dskip and dup.
  void backward(Device& dev, view<T const> dy, view<T> dskip, view<T> dup) const {
    check_channels(dskip, dup, dy);
    copy<T>(dev, dy.channels(0, dskip.c), dskip);
    copy<T>(dev, dy.channels(dskip.c, dup.c), dup);
  }

 private:
  template <class A, class B, class Y> static void check_channels(view<A> skip, view<B> up, view<Y> y) {
    check(skip.c + up.c == y.c, "concat_skip: ", skip.c, " and ", up.c, " channels do not make ", y.c);
  }
};

}  // namespace unetdn
