"""How many bits a device multiplies in."""

import torch
from omegaconf import DictConfig

from experiments.cli.errors import UserError


def set_precision(cfg: DictConfig, device: torch.device) -> None:
    """Let this process multiply as configured.

    Raises:
        UserError: the device cannot.
    """
    gpu = device.type == "cuda"
    if cfg.trainer.precision == "16-mixed" and not gpu:
        raise UserError(
            f"trainer.precision=16-mixed is for a CUDA GPU, not for {device.type}; choose 32-true "
            "or bf16-mixed"
        )
    if cfg.tf32 and not (gpu and torch.cuda.get_device_capability(device) >= (8, 0)):
        where = torch.cuda.get_device_name(device) if gpu else device.type
        raise UserError(f"tf32=true needs an NVIDIA GPU from Ampere on, not {where}; leave it null")
    # of PyTorch's defaults one is on and one is off
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = bool(cfg.tf32)
