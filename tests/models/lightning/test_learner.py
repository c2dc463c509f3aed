import pytest
import torch
from torch import nn

from models.lightning.learner import Learner, score
from models.normalize import Normalize


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.randint(256, (16, 1, 28, 28), dtype=torch.uint8), torch.randint(10, (16,))


def learner(compiled: str | None, pixels: int = 784) -> Learner:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 10))
    return Learner(network, Normalize(0.1307, 0.3081), batch_size=16, compiled=compiled)


def test_normalize_scales_bytes_then_standardises():
    images = torch.tensor([[0, 255]], dtype=torch.uint8)
    expected = torch.tensor([[-0.1307 / 0.3081, (1 - 0.1307) / 0.3081]])
    assert torch.allclose(Normalize(0.1307, 0.3081)(images), expected)


@pytest.mark.slow
def test_what_torch_compiles_is_the_same(batch):
    eager, compiled = learner(None), learner("all")
    for one, other in zip(eager(*batch), compiled(*batch), strict=True):
        assert torch.allclose(one.float(), other.float())
    assert (eager.backend, compiled.backend) == ("eager", "torch.compile")
    smaller = [tensor[:5] for tensor in batch]  # runs eagerly
    assert torch.allclose(eager(*smaller)[0], compiled(*smaller)[0])


def test_where_the_compiler_fails_the_plain_program_runs(batch, caplog):
    ours = learner("all")
    with torch.compiler.set_stance("fail_on_recompile"):  # whatever was compiled before
        torch.compiler.reset()
        loss, _ = ours(*batch)
    assert torch.equal(loss, learner(None)(*batch)[0])
    assert ours.backend.startswith("eager, as ")
    assert "fail_on_recompile" in ours.backend
    assert ours.backend in caplog.text
    loss.backward()
    ours(*batch)  # the compiler is not tried again
    assert len(caplog.records) == 1


def test_an_error_of_the_plain_program_is_the_users(batch):
    ours = learner("all", pixels=3)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        ours(*batch)
    assert ours.backend == "eager"


def test_score_counts_what_is_right():
    logits = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    loss, correct = score(logits, torch.tensor([0, 1, 1]))
    assert correct == 2
    assert torch.isclose(loss, nn.functional.cross_entropy(logits, torch.tensor([0, 1, 1])))
