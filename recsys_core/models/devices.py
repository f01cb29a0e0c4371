"""Where torch trains."""

from recsys_core.errors import DeviceError
from recsys_core.models.base import Device


def resolve_device(device: Device) -> str:
    """``cpu`` or ``cuda``, never a silent substitute for what was asked.

    Raises:
        DeviceError: ``cuda`` was asked for and torch finds no usable GPU.
    """
    import torch  # only the trainer needs torch

    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            f"train.device = 'cuda', but torch {torch.__version__} finds no GPU; "
            "set train.device to 'cpu' or 'auto', or install a CUDA build of torch and a driver"
        )
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device
