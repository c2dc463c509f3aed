"""Convolutions that are trained as several branches, and are one convolution afterwards."""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class Branches(nn.Module):
    """The sum of a kernel, of a 1x1 kernel in its centre and, where a layer has as many outputs as
    inputs, of the identity, each times a scale for every output channel; all of them learn (Hu and
    others, "Online Convolutional Re-parameterization", 2022, which needs no norm in each branch).

    float [out, in / groups, k, k] -> the same. The scales begin at 1; k is odd.

    Args:
        layer: the convolution, as it is without branches.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        outputs, inputs, *_ = layer.weight.shape
        self.centre = layer.kernel_size[0] // 2
        self.pointwise = nn.Parameter(layer.weight.new_empty(outputs, inputs))
        nn.init.kaiming_uniform_(self.pointwise, a=5**0.5)  # as nn.Conv2d begins
        identity = torch.zeros_like(self.pointwise)
        if layer.in_channels == layer.out_channels:
            channel = torch.arange(outputs)
            identity[channel, channel % inputs] = 1
        self.register_buffer("identity", identity, persistent=False)
        self.scales = nn.Parameter(layer.weight.new_ones(3, outputs, 1))

    def forward(self, kernel: Tensor) -> Tensor:
        of_kernel, of_pointwise, of_identity = self.scales
        added = of_pointwise * self.pointwise + of_identity * self.identity
        rim = (self.centre,) * 4
        return of_kernel[..., None, None] * kernel + nn.functional.pad(added[..., None, None], rim)


def add_branches(network: nn.Module) -> nn.Module:
    """Train the convolutions of a network as branches, those with square kernels of an odd side
    from 3 on; the network. ValueError: it has none, or one whose weight is computed, or is that of
    another layer too."""
    layers = [
        layer
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d)
        if layer.kernel_size[0] == layer.kernel_size[1] > 1 and layer.kernel_size[0] % 2
    ]
    weights = {layer.weight for layer in layers if isinstance(layer.weight, nn.Parameter)}
    if not layers or len(weights) < len(layers):
        need = "weights of their own" if layers else "a square kernel of an odd side from 3 on"
        raise ValueError(f"they need convolutions with {need}")
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", Branches(layer))
    return network


def fold(network: nn.Module) -> nn.Module:
    """Turn the branches of each convolution into its one kernel, which computes the same; the
    network."""
    for layer in list(network.modules()):
        if parametrize.is_parametrized(layer, "weight") and isinstance(
            layer.parametrizations.weight[0], Branches
        ):
            parametrize.remove_parametrizations(layer, "weight")
    return network
