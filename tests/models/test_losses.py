import pytest
import torch
from torch.nn import functional as F

from models.losses import CrossEntropy, Distillation, SquaredError


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.rand(5, 10, requires_grad=True), torch.tensor([0, 3, 9, 3, 1])


def test_squared_error_is_that_of_torch_on_one_hot_targets(batch):
    outputs, labels = batch
    expected = F.mse_loss(outputs, F.one_hot(labels, 10).float())
    for gradient in ("mean", "sum"):
        assert torch.allclose(SquaredError(gradient)(outputs, labels), expected)


@pytest.mark.parametrize(("gradient", "divisor"), [("sum", 1), ("mean", 50)])
def test_its_gradient_is_twice_the_difference(batch, gradient, divisor):
    outputs, labels = batch
    SquaredError(gradient)(outputs, labels).backward()
    expected = 2 * (outputs.detach() - F.one_hot(labels, 10)) / divisor
    assert torch.allclose(outputs.grad, expected)


def test_cross_entropy_is_that_of_torch(batch):
    assert torch.equal(CrossEntropy()(*batch), F.cross_entropy(*batch))
    assert CrossEntropy(label_smoothing=0.1)(*batch) != F.cross_entropy(*batch)


def test_distillation_is_that_of_hinton_and_others(batch):
    outputs, labels = batch
    logits = torch.rand(5, 10) * 5
    loss = Distillation("a run", weight=0.3, temperature=2.0)
    assert torch.equal(loss(outputs, labels), F.cross_entropy(outputs, labels))  # in validation
    loss.network = lambda images: images.softmax(1)
    soft, own = (logits / 2).softmax(1), (outputs / 2).softmax(1)
    distance = (soft * (soft / own).log()).sum(1).mean()
    expected = 0.7 * F.cross_entropy(outputs, labels) + 0.3 * 4 * distance
    assert torch.allclose(loss.taught(logits)(outputs, labels), expected)


@pytest.mark.parametrize("loss", [CrossEntropy, SquaredError])
def test_probabilities_are_such_and_keep_the_order(loss):
    outputs = torch.tensor([[0.9, 0.2, -0.1], [0.0, 0.0, 0.0]])
    probabilities = loss.probabilities(outputs)
    assert torch.allclose(probabilities.sum(1), torch.ones(2))
    assert (probabilities >= 0).all()
    assert probabilities[0].argsort().tolist() == [2, 1, 0]


def test_another_gradient_is_refused():
    with pytest.raises(ValueError, match="'mean' or 'sum'"):
        SquaredError("total")
