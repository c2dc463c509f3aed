"""Networks of dense layers only."""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

from torch import nn

from models.checks import require_choice, require_integers, require_probability

ACTIVATIONS = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "softmax": partial(nn.Softmax, dim=1),
}


class MLP(nn.Sequential):
    """Dense layers, each but the last one followed by an activation, BatchNorm1d and Dropout.

    Args:
        widths: outputs of each hidden layer, positive integers.
        activation: of the hidden layers: relu, sigmoid, tanh or softmax.
        output: activation of the last layer; None: none.
        batch_norm: whether BatchNorm1d follows each hidden layer's activation.
        dropout: probability that Dropout drops an output of a hidden layer, in [0, 1).
        uniform: initial weights and biases are from -uniform to uniform; None: as in PyTorch.
        num_classes, in_channels, image_size: see BlockNet.

    Shapes:
        float [N, in_channels, image_size, image_size] -> [N, num_classes].
    """

    def __init__(
        self,
        widths: Sequence[int],
        activation: str = "relu",
        output: str | None = None,
        batch_norm: bool = False,
        dropout: float = 0.0,
        uniform: float | None = None,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int = 28,
    ) -> None:
        require_integers("widths", widths)
        require_choice("activation", activation, ACTIVATIONS)
        if output is not None:
            require_choice("output", output, ACTIVATIONS)
        require_probability("dropout", dropout)
        if uniform is not None and (type(uniform) not in (int, float) or not uniform > 0):
            raise ValueError(f"uniform must be a number above 0, not {uniform}")

        layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        inputs = in_channels * image_size**2
        for i, width in enumerate(widths, start=1):
            layers[f"linear{i}"] = nn.Linear(inputs, width)
            layers[f"{activation}{i}"] = ACTIVATIONS[activation]()
            if batch_norm:
                layers[f"norm{i}"] = nn.BatchNorm1d(width)
            if dropout:
                layers[f"drop{i}"] = nn.Dropout(dropout)
            inputs = width
        layers[f"linear{len(widths) + 1}"] = nn.Linear(inputs, num_classes)
        if output is not None:
            layers["output"] = ACTIVATIONS[output]()
        super().__init__(layers)
        if uniform is not None:
            for layer in self:
                if isinstance(layer, nn.Linear):
                    nn.init.uniform_(layer.weight, -uniform, uniform)
                    nn.init.uniform_(layer.bias, -uniform, uniform)
