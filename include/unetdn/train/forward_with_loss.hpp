// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <unetdn/loss.hpp>
#include <unetdn/networks/unet_session.hpp>

namespace unetdn {

/// Runs the network on the session's input on a GPU, without a wait: the loss of its output goes to `loss`, and the
/// gradient, of the last convolution's sums and multiplied by `*loss_scale`, to output_gradient(), for
/// backward(..., gradient_of::sums). Both pointers are to device memory; target[N,H,W,out_channels]. Where the session
/// computes losses, l1 and mse are part of its last pass; l1_ssim is a pass of its own, because an element's gradient
/// depends on its neighbours. Takes loss_scratch_bytes() of scratch.
template <class T, class Device>
void forward_with_loss(unet_session<T, Device>& session, unet<T, Device> const& net, loss_kind kind,
                       view<float const> target, double* loss, float const* loss_scale) {
  view<T> const gradient = session.output_gradient();
  if (session.computes_loss() && kind != loss_kind::l1_ssim)
    return session.forward(net, {kind == loss_kind::mse, target, gradient, loss, loss_scale});
  session.forward(net);
  profile_range<Device> const range("loss");
  bool const sigmoid = net.config().output == unet_output::sigmoid;
  loss_and_gradient<T>(session.device(), kind, session.output(), target, gradient, loss, loss_scale, sigmoid);
}

}  // namespace unetdn
