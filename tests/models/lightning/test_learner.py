import gc
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from models.augmentation import Normalize
from models.lightning import learner as module
from models.lightning.learner import Learner, score


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.randint(256, (16, 1, 28, 28), dtype=torch.uint8), torch.randint(10, (16,))


def learner(compiles: bool, pixels: int = 784) -> Learner:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 10))
    return Learner(network, Normalize(0.1307, 0.3081), batch_size=16, compiles=compiles)


def test_normalize_scales_bytes_then_standardises():
    images = torch.tensor([[0, 255]], dtype=torch.uint8)
    expected = torch.tensor([[-0.1307 / 0.3081, (1 - 0.1307) / 0.3081]])
    assert torch.allclose(Normalize(0.1307, 0.3081)(images), expected)


@pytest.mark.slow
def test_what_torch_compiles_is_the_same(batch):
    eager, compiled = learner(False), learner(True)
    for one, other in zip(eager(*batch), compiled(*batch), strict=True):
        assert torch.allclose(one.float(), other.float())
    assert (eager.backend, compiled.backend) == ("eager", "torch.compile")
    smaller = [tensor[:5] for tensor in batch]  # runs eagerly
    assert torch.allclose(eager(*smaller)[0], compiled(*smaller)[0])


def test_where_the_compiler_fails_the_plain_program_runs(batch, caplog):
    ours = learner(True)
    with torch.compiler.set_stance("fail_on_recompile"):  # whatever was compiled before
        torch.compiler.reset()
        loss, _ = ours(*batch)
    assert torch.equal(loss, learner(False)(*batch)[0])
    assert ours.backend.startswith("eager, as ")
    assert "fail_on_recompile" in ours.backend
    assert ours.backend in caplog.text
    loss.backward()
    ours(*batch)  # the compiler is not tried again
    assert len(caplog.records) == 1


@pytest.fixture
def graphs(monkeypatch) -> list[torch.fx.GraphModule]:
    """What Dynamo has compiled; by a backend that does nothing, as Inductor takes seconds."""
    made = []

    def backend(graph: torch.fx.GraphModule, _, options=None) -> Callable:
        if options:
            raise RuntimeError("no CUDA graph of this")
        made.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    return made


@pytest.mark.slow
def test_each_architecture_of_a_process_is_compiled(graphs):
    """Dynamo keeps 8 programs of a function, and is silent about those that it does not make."""
    images, labels = torch.zeros(16, 1, 4, 4, dtype=torch.uint8), torch.zeros(16, dtype=torch.int64)
    for width in range(1, 11):
        network = nn.Sequential(nn.Flatten(), nn.Linear(16, width), nn.Linear(width, 10))
        ours = Learner(network, Normalize(0.0, 1.0), batch_size=16, compiles=True)
        for _ in range(2):
            ours(images, labels)[0].backward()
        assert ours.backend == "torch.compile"
    assert len(graphs) == 10


@pytest.mark.slow
def test_a_process_keeps_one_compiled_program_whatever_it_compiled_before(batch):
    """Else 20 MB of each architecture would stay: see docs/gpu.md."""
    graphs, files = [], []
    gc.disable()  # it would be by chance that it comes in time
    try:
        for width in range(1, 5):
            network = nn.Sequential(nn.Flatten(), nn.Linear(784, width), nn.Linear(width, 10))
            ours = Learner(network, Normalize(0.0, 1.0), batch_size=16, compiles=True)
            ours(*batch)[0].backward()
            assert ours.backend == "torch.compile"
            graphs.append(sum(issubclass(type(x), torch.fx.GraphModule) for x in gc.get_objects()))
            files.append(len(torch.compiler.save_cache_artifacts()[0]))
    finally:
        gc.enable()
    assert max(graphs) <= graphs[0]
    assert max(files) < 1.5 * files[0]


def test_what_has_no_cuda_graph_is_compiled_without_and_says_so(graphs, batch, monkeypatch):
    monkeypatch.setitem(module.COMPILED, "cpu", module.COMPILED["cuda"])
    ours = learner(True)
    ours(*batch)
    assert ours.backend.startswith("torch.compile, as ")
    assert "no CUDA graph of this" in ours.backend
    assert len(graphs) == 1


@pytest.mark.parametrize("fails", ["forward", "backward"])
def test_a_program_that_fails_when_it_runs_leaves_no_trace(batch, monkeypatch, fails):
    """As the capture of a CUDA graph does in the second step, in either pass."""

    class Failing(torch.autograd.Function):
        calls = 0

        @staticmethod
        def forward(ctx, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx, grad: torch.Tensor) -> torch.Tensor:
            Failing.calls += 1
            if Failing.calls > 1:
                raise RuntimeError("not permitted when stream is capturing")
            return grad

    def compile(plain: module.Program, **_) -> module.Program:
        def program(*given: torch.Tensor) -> module.Scores:
            loss, correct = plain(*given)
            if fails == "backward":
                return Failing.apply(loss), correct
            Failing.calls += 1
            if Failing.calls > 1:
                raise RuntimeError("not permitted when stream is capturing")
            return loss, correct

        return program

    def trained(compiles: bool) -> tuple[Learner, list[torch.Tensor]]:
        torch.manual_seed(0)
        layers = (nn.Conv2d(1, 4, 5), nn.BatchNorm2d(4), nn.Dropout(0.2), nn.Flatten())
        network = nn.Sequential(*layers, nn.Linear(4 * 24 * 24, 10))
        ours = Learner(network, Normalize(0.1, 0.3), batch_size=16, compiles=compiles)
        for _ in range(2):
            ours(*batch)[0].backward()
        return ours, [*network.buffers(), *(p.grad for p in network.parameters()), torch.rand(1)]

    monkeypatch.setattr(torch, "compile", compile)
    ours, state = trained(True)
    assert ours.backend == "eager, as not permitted when stream is capturing"
    torch.testing.assert_close(state, trained(False)[1], rtol=0, atol=0)


def test_the_backend_is_what_trained_this_epoch(graphs, batch):
    ours, smaller = learner(True), [tensor[:5] for tensor in batch]
    ours(*batch)
    ours(*smaller)
    ours(*batch)
    assert (ours.backend, sum(ours.batches.values())) == ("torch.compile", 3)
    ours.batches.clear()  # an epoch without a whole batch
    ours(*smaller)
    assert ours.backend == "eager"


def test_an_error_of_the_plain_program_is_the_users(batch):
    ours = learner(True, pixels=3)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        ours(*batch)
    assert ours.backend == "eager"


def test_score_counts_what_is_right():
    logits = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    loss, correct = score(logits, torch.tensor([0, 1, 1]))
    assert correct == 2
    assert torch.isclose(loss, nn.functional.cross_entropy(logits, torch.tensor([0, 1, 1])))
