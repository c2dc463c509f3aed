import pytest
import torch
from torch import nn

from models.lightning.learner import Learner, score
from models.normalize import Normalize


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.randint(256, (16, 1, 28, 28), dtype=torch.uint8), torch.randint(10, (16,))


def learner(compiled: str | None) -> Learner:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    return Learner(network, Normalize(0.1307, 0.3081), batch_size=16, compiled=compiled)


def test_normalize_scales_bytes_then_standardises():
    images = torch.tensor([[0, 255]], dtype=torch.uint8)
    expected = torch.tensor([[-0.1307 / 0.3081, (1 - 0.1307) / 0.3081]])
    assert torch.allclose(Normalize(0.1307, 0.3081)(images), expected)


def test_what_torch_compiles_is_the_same(batch):
    eager, compiled = learner(None), learner("all")
    for one, other in zip(eager(*batch), compiled(*batch), strict=True):
        assert torch.allclose(one.float(), other.float())
    assert (eager.backend, compiled.backend) == ("eager", "torch.compile")
    some = [tensor[:5] for tensor in batch]  # no program of its own
    assert torch.allclose(eager(*some)[0], compiled(*some)[0])


def test_without_a_compiler_it_goes_on_and_says_so(monkeypatch, tmp_path, batch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (None, "no-such-compiler"))
    torch._dynamo.reset()
    ours = learner("all")
    loss, _ = ours(*batch)
    assert torch.allclose(loss, learner(None)(*batch)[0])
    assert ours.backend.startswith("eager, as ")
    assert "no-such-compiler" in ours.backend
    loss.backward()


def test_score_counts_what_is_right():
    logits = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    loss, correct = score(logits, torch.tensor([0, 1, 1]))
    assert correct == 2
    assert torch.isclose(loss, nn.functional.cross_entropy(logits, torch.tensor([0, 1, 1])))
