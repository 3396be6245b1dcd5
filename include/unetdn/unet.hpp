// SPDX-License-Identifier: Apache-2.0
#pragma once
// The public door: the U-Net, its sessions and the denoiser, on the processor unless another device is named.
#include <unetdn/networks/denoiser.hpp>
#include <unetdn/networks/unet.hpp>
#include <unetdn/networks/unet_session.hpp>
#include <unetdn/version.hpp>
