"""Many networks of one architecture as one module."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap


class NetworkStack(nn.Module):
    """K networks whose weights of one name lie in one tensor, so that one kernel serves all.

    float [K, N, C, H, W], or [N, C, H, W] for all -> outputs [K, N, classes].

    Args:
        networks: of one architecture, except for the p of their dropout; with initial weights.
        group_sizes: the networks, in their order, are split into groups of these sizes; each
            group has tensors of its own, so that it can have its own learning rate.
    """

    def __init__(self, networks: Sequence[nn.Module], group_sizes: Sequence[int]) -> None:
        super().__init__()
        networks = [with_tensor_dropout(network) for network in networks]
        weights, buffers = stack_module_state(networks)
        self.count = len(networks)
        self.skeleton = [copy.deepcopy(networks[0]).to("meta")]  # in a list: no submodule of ours
        self.names = [*weights, *buffers]
        split = (weight.detach().split(list(group_sizes)) for weight in weights.values())
        self.groups = nn.ModuleList(
            nn.ParameterList(nn.Parameter(part.clone()) for part in group)
            for group in zip(*split, strict=True)
        )
        for i, tensor in enumerate(buffers.values()):
            self.register_buffer(f"buffer{i}", tensor)

    def stacked(self) -> dict[str, Tensor]:
        """Parameters and buffers of all networks, by name: [K, ...]."""
        weights = (torch.cat(list(parts)) for parts in zip(*self.groups, strict=True))
        return dict(zip(self.names, (*weights, *self.buffers()), strict=True))

    def one(self, state: dict[str, Tensor], images: Tensor) -> Tensor:
        """The outputs of one network, by its parameters and buffers."""
        [skeleton] = self.skeleton
        skeleton.train(self.training)
        # a shared layer has its weights once, and the compiler does not follow what would tie them
        return functional_call(skeleton, state, (images,), tie_weights=False)

    def forward(self, images: Tensor) -> Tensor:
        stacked = self.stacked()
        images = images.expand(self.count, *images.shape[-4:])
        if images.device.type == "cpu":  # its kernels for grouped convolutions are slow
            states = zip(*(tensor.unbind() for tensor in stacked.values()), strict=True)
            each = (dict(zip(stacked, state, strict=True)) for state in states)
            return torch.stack([self.one(*pair) for pair in zip(each, images, strict=True)])
        return vmap(self.one, randomness="different")(stacked, images)


class TensorDropout(nn.Module):
    """Dropout whose p is a tensor, so that it can differ between the networks of a stack; of whole
    `channels`, as Dropout2d drops them, or of single values."""

    def __init__(self, p: float, channels: bool) -> None:
        super().__init__()
        self.register_buffer("p", torch.tensor(p))
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        shape = (*x.shape[:2], 1, 1) if self.channels else x.shape
        mask = torch.rand(shape, device=x.device) >= self.p
        return x * (mask / (1 - self.p))


def with_tensor_dropout(network: nn.Module) -> nn.Module:
    """A copy of a network with TensorDropout in place of Dropout and Dropout2d."""
    network = copy.deepcopy(network)
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.Dropout | nn.Dropout2d):
            network.set_submodule(name, TensorDropout(layer.p, isinstance(layer, nn.Dropout2d)))
    return network


@torch.no_grad()
def load_from_stack(network: nn.Module, stacked: dict[str, Tensor], index: int) -> None:
    """Give a network the weights and buffers of one network of a stack, see `stacked`."""
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        tensor.copy_(stacked[name][index])
