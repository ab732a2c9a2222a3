"""Which card and which libraries, and whether the operators that everything needs run there at all."""

from __future__ import annotations

import platform

import torch

from gpu_parts.setting import Setting


def machine(setting: Setting) -> None:
    """Record versions and the card; try each of torchvision's compiled operators."""
    import torchvision

    facts = {"torch": torch.__version__, "torchvision": torchvision.__version__, "python": platform.python_version()}
    facts |= {"processor": platform.processor() or platform.machine(), "threads": str(torch.get_num_threads())}
    setting.record("libraries", **facts)
    if setting.is_cuda:
        card = torch.cuda.get_device_properties(setting.device)
        setting.record(
            "card",
            name=card.name,
            memory_gib=round(card.total_memory / 2**30, 1),
            capability=f"{card.major}.{card.minor}",
            cuda=torch.version.cuda,
            cudnn=torch.backends.cudnn.version(),
            nccl=".".join(map(str, torch.cuda.nccl.version())),
            has_bf16=torch.cuda.is_bf16_supported(),
            built_for=" ".join(torch.cuda.get_arch_list()),
        )
    _try_operators(setting)


def _try_operators(setting: Setting) -> None:
    from torchvision.ops import deform_conv2d, nms, roi_align, roi_pool

    features = torch.rand((1, 4, 16, 16), device=setting.device, requires_grad=True)
    rois = torch.tensor([[0.0, 1.0, 1.0, 9.0, 9.0]], device=setting.device)
    weight = torch.rand((4, 4, 3, 3), device=setting.device)
    offset = torch.zeros((1, 18, 16, 16), device=setting.device)
    operators = {
        "matrix product in bf16": lambda: torch.matmul(weight[0, 0].bfloat16(), weight[0, 1].bfloat16()),
        "convolution": lambda: torch.conv2d(features, weight, padding=1),
        "nms": lambda: nms(rois[:, 1:], rois[:, 0], 0.5),
        "roi_align": lambda: roi_align(features, rois, 7, sampling_ratio=2),
        "roi_pool": lambda: roi_pool(features, rois, 7),
        "deform_conv2d": lambda: deform_conv2d(features, offset, weight, padding=1),
    }
    for name, operator in operators.items():
        with setting.attempt(f"operator {name}"):
            output = operator()
            if output.requires_grad:
                output.sum().backward()
            setting.record(f"operator {name}", result="runs, with gradient" if output.requires_grad else "runs")
