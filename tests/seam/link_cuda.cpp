// SPDX-License-Identifier: Apache-2.0
// Compiled by a plain C++ compiler and linked with unetdn::cuda: uses every operation with every element type on cuda,
// so that a missing instantiation is a link error, also on machines without a GPU.
#include <cstdio>
#include <vector>

#include <unetdn/core/tensor.hpp>
#include <unetdn/devices/cuda.hpp>
#include <unetdn/ops/reduce.hpp>
#include <unetdn/ops/relu.hpp>

namespace {

using unetdn::cuda;

/// Whether sum(relu(x)) and the gradient of that are right for x = -4 ... 4.
template <class T> bool works(cuda& dev) {
  unetdn::shape const s{1, 3, 3, 1};
  std::vector<T> host;
  for (int i = -4; i <= 4; ++i) host.push_back(T(float(i)));
  unetdn::tensor<T, cuda> x{dev, s}, y{dev, s}, dx{dev, s};
  x.upload(dev, host);
  unetdn::relu_forward(dev, x.view(), y.view());
  unetdn::relu_backward(dev, y.view(), y.view(), dx.view());
  dev.copy(x.data(), dx.data(), host.size() * sizeof(T));
  dev.synchronize();
  return unetdn::sum(dev, x.view()) == 10.0;
}

}  // namespace

int main() {
  if (!unetdn::cuda_available()) {
    std::puts(unetdn::cuda_problem().c_str());
    try {
      cuda dev;
      return 1;
    } catch (unetdn::error const& e) {
      return unetdn::cuda_problem() == e.what() ? 0 : 1;
    }
  }
  cuda dev;
  bool const ok = works<float>(dev) && works<unetdn::bf16>(dev) && works<unetdn::fp16>(dev);
  std::puts(ok ? "relu and sum are right on the GPU" : "relu or sum is WRONG on the GPU");
  return ok ? 0 : 1;
}
