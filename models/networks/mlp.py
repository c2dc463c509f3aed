"""Networks of dense layers only."""

from functools import partial
from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from models.checks import Probability, Sizes, checked

ACTIVATIONS = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "softmax": partial(nn.Softmax, dim=1),
}
Activation = Literal[tuple(ACTIVATIONS)]


class MLP(nn.Sequential):
    """Dense layers, each but the last one followed by an activation, BatchNorm1d and Dropout.

    float [N, in_channels, image_size, image_size] -> [N, num_classes].

    Args:
        widths: outputs of each hidden layer.
        activation: of the hidden layers.
        output: activation of the last layer; None: none.
        batch_norm: whether BatchNorm1d follows each hidden layer's activation.
        dropout: probability that Dropout drops an output of a hidden layer.
        uniform: initial weights and biases are from -uniform to uniform; None: as in PyTorch.
        num_classes, in_channels, image_size: see BlockNet.
    """

    @checked
    def __init__(
        self,
        widths: Sizes,
        activation: Activation = "relu",
        output: Activation | None = None,
        batch_norm: bool = False,
        dropout: Probability = 0.0,
        uniform: Annotated[float, Field(gt=0)] | None = None,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int = 28,
    ) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        inputs = in_channels * image_size**2
        for i, width in enumerate(widths, start=1):
            self.add_module(f"linear{i}", nn.Linear(inputs, width))
            self.add_module(f"{activation}{i}", ACTIVATIONS[activation]())
            if batch_norm:
                self.add_module(f"norm{i}", nn.BatchNorm1d(width))
            if dropout:
                self.add_module(f"drop{i}", nn.Dropout(dropout))
            inputs = width
        self.add_module(f"linear{len(widths) + 1}", nn.Linear(inputs, num_classes))
        if output is not None:
            self.output = ACTIVATIONS[output]()
        if uniform is not None:
            for layer in self:
                if isinstance(layer, nn.Linear):
                    nn.init.uniform_(layer.weight, -uniform, uniform)
                    nn.init.uniform_(layer.bias, -uniform, uniform)
