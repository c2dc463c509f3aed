"""A pretended GPU: its tensors compute on the CPU, but may not be mixed with the CPU's, tell when
the host waits for them, and are saved as a GPU's."""

import traceback
from contextlib import contextmanager
from unittest.mock import Mock, patch

import torch
from torch import Tag, Tensor, serialization
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

aten, CUDA = torch.ops.aten, torch.device("cuda", 0)
WAITS = {Tag.data_dependent_output, Tag.dynamic_output_shape}
# what CUDA does not do deterministically: PyTorch lists it at use_deterministic_algorithms
BACKWARD = """_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d avg_pool3d _ctc_loss
    fractional_max_pool2d fractional_max_pool3d grid_sampler_2d grid_sampler_3d reflection_pad1d
    reflection_pad2d reflection_pad3d upsample_linear1d upsample_bilinear2d upsample_bicubic2d
    upsample_trilinear3d _upsample_bilinear2d_aa _upsample_bicubic2d_aa"""
UNSTABLE = {getattr(aten, f"{name}_backward") for name in BACKWARD.split()}
UNSTABLE |= {aten.nll_loss2d_forward, aten.max_unpool2d, aten.max_unpool3d}
UNSTABLE |= {aten.histc, aten.put_, aten.median.dim}
ANSWERS = {"device_count": 1, "get_device_capability": (9, 0), "get_device_name": "pretended"}
ANSWERS |= {"is_bf16_supported": True, "_lazy_init": None, "set_device": None, "empty_cache": None}
torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(1, device="cuda") is a copy then


class Pretended(Tensor):
    """For Python it lies on cuda:0; for C++, where autograd would ask for a GPU, on "meta"."""

    device, is_cuda = CUDA, True
    __torch_function__ = torch._C._disabled_torch_function_impl
    __torch_dispatch__ = Mock(side_effect=RuntimeError("the GPU has been given back"))

    @staticmethod
    def __new__(cls, real: Tensor) -> "Pretended":
        like = {"strides": real.stride(), "dtype": real.dtype, "device": "meta"}
        made = Tensor._make_wrapper_subclass(cls, real.shape, **like)
        made.held = real
        return made

    def tolist(self) -> list:
        return self.cpu().tolist()

    def __reduce_ex__(self, protocol: int) -> tuple:
        real = self.cpu()
        real.untyped_storage().location = "cuda:0"
        return real.__reduce_ex__(protocol)


class PretendedGPU(TorchDispatchMode):
    """Attributes: waits: the stack of each time that the host waited."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, op = kwargs or {}, func.overloadpacket
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        others = [x for x in given if not isinstance(x, Pretended)]
        target = kwargs["device"].type if kwargs.get("device") else None
        if len(others) == len(given) and target in (None, "cpu"):
            return func(*args, **kwargs)
        waits = WAITS & set(func.tags)
        if op in (aten.index, aten.index_put_):  # by a mask, whose true values are counted
            waits = any(x.dtype is torch.bool for x in given)
        if op in (aten._to_copy, aten.copy_):
            waits = others or target == "cpu"
        elif any(x.ndim for x in others):
            raise RuntimeError(f"expected all tensors to be on the same device: {func}")
        if torch.are_deterministic_algorithms_enabled() and {op, func} & UNSTABLE:
            raise RuntimeError(f"{func} has no deterministic implementation")
        if waits:
            self.waits.append("".join(traceback.format_stack(limit=12)))
        args, kwargs = tree_map_only(Pretended, lambda x: x.held, (args, kwargs))
        out = func(*args, **(kwargs | {"device": "cpu"} if target else kwargs))
        # an operation in place returns what it was given
        known = {id(getattr(x, "held", x)): x for x in given}
        place = (lambda x: x) if target == "cpu" else Pretended
        return tree_map_only(Tensor, lambda x: known[id(x)] if id(x) in known else place(x), out)


@contextmanager
def pretended_gpu():
    """PyTorch and Lightning take it that there is one GPU."""
    answers = {name: Mock(return_value=value) for name, value in ANSWERS.items()}
    # what was saved on it asks for a GPU, here for this one, when it is loaded
    saved = 0, lambda x: getattr(x, "location", None), lambda x, to: {"cuda:0": x}.get(to)
    with (
        patch.multiple(torch.cuda, **answers),
        patch("torch.accelerator.current_accelerator", Mock(return_value=None)),  # Adam asks it
        patch.object(serialization, "_package_registry", [saved, *serialization._package_registry]),
        PretendedGPU() as gpu,
    ):
        yield gpu
