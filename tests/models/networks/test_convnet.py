import pytest
import torch

from models.networks.convnet import ConvNet

SMALL = {"widths": [4, 6], "kernels": [5, 3], "paddings": [2, 0], "pooled": [1]}


def kinds(network: ConvNet) -> list[str]:
    return [type(layer).__name__ for layer in network]


def test_layers_come_in_order():
    network = ConvNet(**SMALL, hidden=[20], bottleneck=7, dropout=[0.2, 0.1], batch_norm=True)
    assert kinds(network) == [
        *("Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d", "Conv2d", "BatchNorm2d", "ReLU"),
        *("Flatten", "Dropout", "Linear", "ReLU", "Dropout", "Linear", "Linear"),
    ]
    assert network.linear1.in_features == 6 * 12**2
    assert network(torch.rand(3, 1, 28, 28)).shape == (3, 10)


def test_an_image_can_be_scaled_first():
    network = ConvNet(**SMALL, resize=56, in_channels=3)
    assert network(torch.rand(2, 3, 28, 28)).shape == (2, 10)
    assert network.linear1.in_features == 6 * 26**2


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"widths": [4, 0]}, r"widths\.1\n.*greater than or equal to 1"),
        ({"kernels": [5, 1.5]}, r"kernels\.1\n.*a valid integer"),
        ({"paddings": [2, -1]}, r"paddings\.1\n.*greater than or equal to 0"),
        ({"hidden": [True]}, r"hidden\.0\n.*a valid integer"),
        ({"bottleneck": 0}, r"bottleneck\n.*greater than or equal to 1"),
        ({"kernels": [5]}, "must have one value for each convolution, not 2, 1 and 2 values"),
        ({"pooled": [3]}, "pooled must be from the 2 convolutions"),
        ({"widths": [], "kernels": [], "paddings": [], "pooled": []}, "not 0, 0 and 0 values"),
        ({"dropout": [0.1, 0.1]}, "dropout must have at most 1 values"),
        ({"dropout": [1]}, r"dropout\.0\n.*less than 1"),
        ({"kernels": [5, 15]}, "nothing is left of the image after convolution 2"),
    ],
)
def test_invalid_arguments_are_refused(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        ConvNet(**(SMALL | options))
