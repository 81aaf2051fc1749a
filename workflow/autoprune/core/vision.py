"""torchvision, also beside a CPU-only torch; everything here imports it from this module."""

import torch

try:
    import torchvision.transforms.v2
except RuntimeError as error:
    # PyPI's torchvision is linked to CUDA. Beside a CPU-only torch its compiled operators do not
    # load, and the import stops where it describes two of them: `operator torchvision::nms does
    # not exist` (pytorch/vision, issue 8985). Their schemas alone let it finish; datasets,
    # transforms and models need no more. A build that does load is left as it is.
    if "torchvision::" not in str(error):
        raise
    _schemas = torch.library.Library("torchvision", "FRAGMENT")
    for _name in ("nms", "qnms"):
        _schemas.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision.transforms.v2

__all__ = ["torchvision"]
