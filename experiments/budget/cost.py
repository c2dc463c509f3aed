"""What the network of a configuration costs, and whether its budget allows it.

Parameters are distinct ones: weights that two layers share count once. Multiply-adds are the
products of convolutions and matrix multiplications for one image, as PyTorch's counter finds them
in whatever a network calls. A bias is where such a sum starts, and BatchNorm can be folded into
the weights: neither counts, nor do activations and pools.
"""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from omegaconf import DictConfig
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchinfo import summary

from experiments.cli.config import build
from experiments.cli.errors import UserError
from models.receptive_field import receptive_field

LARGEST = 3  # layers that an error names
# operations by the shapes of their arguments, of which PyTorch's counter knows nothing
OPERATIONS = {
    torch.ops.aten.mv: lambda matrix, *_, **__: 2 * math.prod(matrix),
    torch.ops.aten.dot: lambda vector, *_, **__: 2 * math.prod(vector),
    torch.ops.aten.addmv: lambda _, matrix, *__, **___: 2 * math.prod(matrix),
    # what nn.Bilinear calls; it has no public name
    torch.ops.aten._trilinear: lambda one, weights, *_, **__: 2 * one[0] * math.prod(weights),
}


@dataclass(frozen=True)
class Cost:
    """The cost of one network."""

    parameters: int
    bytes: int  # of all parameters and buffers, as they are stored
    receptive_field: int  # in pixels
    largest: str  # the layers with the most parameters
    summary: str  # torchinfo's table, and our counts
    mult_adds: int | None = None  # None: not counted

    def metrics(self) -> dict[str, int]:
        return {name: value for name, value in vars(self).items() if isinstance(value, int)}


def cost_of(cfg: DictConfig, budget: DictConfig | None = None, mult_adds: bool = True) -> Cost:
    """The cost of a network; UserError if it cannot be built, or is over a budget."""
    return compute_cost(partial(build, cfg, "model"), cfg.data, budget, mult_adds)


def compute_cost(
    make: Callable[[], nn.Module],
    data: DictConfig,
    budget: DictConfig | None = None,
    mult_adds: bool = True,
) -> Cost:
    """The cost of the network that `make` builds, for an image of the shape that `data` states.
    Multiply-adds take a second at first, for PyTorch's imports: other limits come before, and
    who does not need them may leave them out.
    UserError: it is over the budget, does not take the image, or, where they are counted, computes
    with tensors' values."""
    # tensors of meta have shapes and no values, so that nothing is computed; their operations
    # import PyTorch's compiler, which one image on the CPU does not
    device = torch.device("meta" if mult_adds else "cpu")
    with device:
        network = make()
    for name, weight in network.named_parameters():
        if nn.parameter.is_lazy(weight):
            raise UserError(f"model: {name} is of a lazy layer; give its size")
    parameters, largest = sum(weight.numel() for weight in network.parameters()), _largest(network)
    stored = sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
    counts = {"parameters": parameters, "bytes": stored}
    _refuse_excess(counts, budget, largest)
    shape = (1, data.in_channels, data.image_size, data.image_size)
    counter = FlopCounterMode(display=False, custom_mapping=OPERATIONS)
    try:
        with device, counter if mult_adds else nullcontext():  # summary itself needs no gradients
            table = summary(network, input_size=shape, device=device, verbose=0, mode="eval")
    except RuntimeError as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise UserError(f"model: does not take an image of {shape[1:]}: {reason}") from error
    text = f"{table}\ncounted: {parameters:,} parameters"
    if mult_adds:
        counts["mult_adds"] = products = counter.get_total_flops() // 2  # 2 operations each
        _refuse_excess(counts, budget, largest)
        text += f", {products:,} multiply-adds"
    if parameters != table.total_params:
        once = dict(network.named_parameters())
        every = dict(network.named_parameters(remove_duplicate=False))
        if not (shared := every.keys() - once):
            counted = f"torchinfo counts {table.total_params:,} parameters, PyTorch {parameters:,}"
            leaves = (info for info in table.summary_list if info.is_leaf_layer)
            unlike = [
                f"{info.var_name} ({info.class_name})"
                for info in leaves
                if info.num_params != sum(weight.numel() for weight in info.module.parameters())
            ]
            raise UserError(f"model: {counted}; look at {', '.join(unlike) or largest}")
        text += f"; shared, and so not counted again: {', '.join(sorted(shared))}"
    leaves = (info.module for info in table.summary_list if info.is_leaf_layer)
    field = receptive_field(leaves, data.image_size)
    return Cost(**counts, receptive_field=field, largest=largest, summary=text)


def _refuse_excess(counts: dict[str, int], budget: DictConfig | None, largest: str) -> None:
    exceeded = [
        f"{count:,} {name}, budget.{name} allows {limit:,}, {count - limit:,} too many"
        for name, limit in (budget or {}).items()
        if limit is not None and (count := counts.get(name, 0)) > limit
    ]
    if exceeded:
        text = f"over budget: {'; '.join(exceeded)}; largest layers: {largest}. "
        raise UserError(text + "Make the network smaller, or raise the budget")


def _largest(network: nn.Module) -> str:
    sizes = {
        f"{name} ({type(layer).__name__})": sum(w.numel() for w in layer.parameters(recurse=False))
        for name, layer in network.named_modules()
    }
    largest = sorted(sizes, key=sizes.get, reverse=True)[:LARGEST]
    return ", ".join(f"{name} {sizes[name]:,}" for name in largest)
