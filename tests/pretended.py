"""A pretended GPU: its tensors compute on the CPU, but may not be mixed with the CPU's, tell when
the host waits for them, and are saved as a GPU's."""

import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
from torch import Tensor
from torch.serialization import _package_registry, register_package
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

aten, CUDA, CPU = torch.ops.aten, torch.device("cuda", 0), torch.device("cpu")
WAITS = {aten._local_scalar_dense, aten.equal, aten.nonzero, aten.masked_select, aten._unique2}
# of what CUDA does not do deterministically
UNSTABLE = {aten._adaptive_avg_pool2d_backward, aten.grid_sampler_2d_backward, aten.histc}
UNSTABLE |= {aten._upsample_bilinear2d_aa_backward, aten.reflection_pad2d_backward, aten.put_}
PATCHES = {"device_count": 1, "get_device_capability": (9, 0), "get_device_name": "pretended"}
PATCHES |= {"current_device": 0, "is_bf16_supported": True}
PATCHES |= dict.fromkeys(("_lazy_init", "set_device", "empty_cache", "synchronize"))


class Pretended(Tensor):
    """For Python it lies on cuda:0; for C++, where autograd would ask for a GPU, on "meta"."""

    device, is_cuda, is_cpu = CUDA, True, False
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, real: Tensor) -> "Pretended":
        like = {"dtype": real.dtype, "requires_grad": real.requires_grad, "device": "meta"}
        made = Tensor._make_wrapper_subclass(cls, real.shape, strides=real.stride(), **like)
        made.held = real
        return made

    def tolist(self) -> list:
        return self.cpu().tolist()

    def __reduce_ex__(self, protocol: int):
        real = self.cpu()
        real.untyped_storage().location = "cuda:0"
        return real.__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, *_):
        raise RuntimeError("the GPU has been given back")


class PretendedGPU(TorchDispatchMode):
    """Attributes: waits: a line of the stack for each time the host waited."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, op = kwargs or {}, func.overloadpacket
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        ours = {id(x.held): x for x in given if isinstance(x, Pretended)}
        others = [x for x in given if not isinstance(x, Pretended)]
        target = kwargs["device"].type if kwargs.get("device") else None
        if op is aten._has_compatible_shallow_copy_type:
            return False
        if not ours and target in (None, "cpu"):
            return func(*args, **kwargs)
        moves = op in (aten._to_copy, aten.copy_)
        if ours and not moves and any(x.ndim for x in others):
            raise RuntimeError(f"expected all tensors to be on the same device: {func}")
        if torch.are_deterministic_algorithms_enabled() and op in UNSTABLE:
            raise RuntimeError(f"{func} has no deterministic implementation")
        masked = op in (aten.index, aten.index_put_) and any(x.dtype is torch.bool for x in given)
        if op in WAITS or masked or (moves and (others or target == "cpu")):
            self.waits.append("".join(traceback.format_stack(limit=12)))
        real, kwargs = tree_map_only(Pretended, lambda x: x.held, (args, kwargs))
        out = func(*real, **(kwargs | {"device": CPU} if target else kwargs))
        if target == "cpu" or any(out is x for x in others):
            return out
        # an operation in place returns what it was given
        return tree_map_only(Tensor, lambda x: ours[id(x)] if id(x) in ours else Pretended(x), out)


@contextmanager
def pretended_gpu() -> Iterator[PretendedGPU]:
    """PyTorch and Lightning take it that there is one GPU."""
    with ExitStack() as stack:
        for name, value in PATCHES.items():
            stack.enter_context(patch.object(torch.cuda, name, lambda *_, value=value: value))
        none = patch.object(torch.accelerator, "current_accelerator", lambda **_: None)
        stack.enter_context(none)  # Adam would ask it for its stream
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(1, device="cuda") is a copy then
        stack.callback(torch._C._set_only_lift_cpu_tensors, False)
        # what was saved on it asks for a GPU, here for this one, when it is loaded
        place, back = lambda x: getattr(x, "location", None), lambda x, to: {"cuda:0": x}.get(to)
        register_package(0, place, back)
        stack.callback(_package_registry.pop, 0)
        yield stack.enter_context(PretendedGPU())
