// SPDX-License-Identifier: Apache-2.0
// The U-Net against PyTorch: the same weights, input and target, given by a formula; outputs, loss and gradients
// stored.
#include <cmath>
#include <string>
#include <vector>

#include <unetdn/loss.hpp>
#include <unetdn/unet.hpp>

#include "catch.hpp"
#include "golden/formula.hpp"
#include "relative_error.hpp"

namespace {

using unetdn::test::relative_error;

template <class T> void fill(unetdn::view<T> to, std::vector<float> const& nhwc) {
  std::size_t i = 0;
  for (int n = 0; n < to.n; ++n) {
    for (int y = 0; y < to.h; ++y) {
      for (int x = 0; x < to.w; ++x) {
        for (int c = 0; c < to.c; ++c) to.pixel(n, y, x)[c] = T(nhwc[i++]);
      }
    }
  }
}

/// The elements in PyTorch's order, NCHW.
template <class T> std::vector<T> channels_first(unetdn::view<T> from) {
  std::vector<T> nchw;
  for (int n = 0; n < from.n; ++n) {
    for (int c = 0; c < from.c; ++c) {
      for (int y = 0; y < from.h; ++y) {
        for (int x = 0; x < from.w; ++x) nchw.push_back(from.pixel(n, y, x)[c]);
      }
    }
  }
  return nchw;
}

}  // namespace

TEMPLATE_TEST_CASE("the U-Net computes what PyTorch computes", "", float, double) {
  std::string const name = GENERATE("unet_classic", "unet_residual", "unet_linear", "unet_odd");
  CAPTURE(name);
  using T = TestType;
  unetdn::safetensors_file const golden(std::string(UNETDN_TEST_SOURCE) + "/golden/" + name + ".safetensors");
  auto const config = unetdn::unet_config::from_metadata(golden.metadata(), golden.path());
  int const n = std::stoi(golden.metadata("batch"));
  int const h = std::stoi(golden.metadata("height")), w = std::stoi(golden.metadata("width"));
  CHECK((h % config.multiple() != 0) == (name == "unet_odd"));

  unetdn::cpu device(2);
  unetdn::unet<T, unetdn::cpu> net(device, config);
  for (auto const& p : net.parameters()) {
    std::vector<float> const values = ::golden::weights(p.name, p.dimensions());
    unetdn::upload(device, p, std::span<float const>(values), net.weights());
  }

  unetdn::unet_session<T, unetdn::cpu> session(device, config, n, h, w, unetdn::session_mode::training);
  fill(session.input(), ::golden::batch("input", n, h, w, config.in_channels));
  if (config.noise_map) fill(session.noise_map(), ::golden::batch("sigma", n, h, w, 1, 0.25f));
  session.forward(net);
  CHECK(relative_error(channels_first(session.output()), golden.floats("output")) < 1e-6);

  unetdn::tensor<T, unetdn::cpu> target(device, {n, h, w, config.out_channels});
  fill(target.view(), ::golden::batch("target", n, h, w, config.out_channels));
  double const loss = unetdn::loss_and_gradient<T>(device, unetdn::loss_kind::mse, session.output(), target.view(),
                                                   session.output_gradient());
  CHECK(loss == Approx(golden.values<double>("loss")[0]).epsilon(1e-6));

  session.backward(net);
  for (auto const& p : net.parameters()) {
    CAPTURE(p.name);
    std::vector<T> const values = unetdn::download<T>(device, p, session.gradients());
    CHECK(relative_error(values, golden.floats("gradient." + p.name)) < 1e-5);  // the bar is 1e-4
  }
}
