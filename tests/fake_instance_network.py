"""An instance network in miniature, to prove that nothing around it asks what kind of method it is."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from pipeline.models._network import Network
from pipeline.structures import InstanceSet


class FakeInstanceNetwork(Network):
    """A mask for each thing class, by its own two losses; overlapping masks are natural to it.

    Parameters
    ----------
    width : channels of its one hidden layer
    """

    stride = 4
    wants_instances = True
    judged_by = ("mask_ap",)
    mean, std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

    def __init__(self, label_space, *, width=8):
        super().__init__(label_space)
        self.things = [index for index, isthing in enumerate(label_space.isthing) if isthing]
        self.body = nn.Sequential(nn.Conv2d(3, width, 5, padding=2), nn.ReLU(), nn.Conv2d(width, len(self.things), 1))

    def losses(self, images, targets):
        logits = self.body(images)
        wanted = torch.zeros_like(logits)
        for row, objects in enumerate(targets.instances):
            for mask, category in zip(objects.masks, objects.classes, strict=True):
                wanted[row, self.things.index(category)] += torch.from_numpy(mask.astype(np.float32))
        self.most_overlap = int(wanted.max())
        wanted.clamp_(max=1)
        area = (logits.sigmoid().mean(dim=(2, 3)) - wanted.mean(dim=(2, 3))).abs().mean()
        return {"mask": F.binary_cross_entropy_with_logits(logits, wanted), "area": 0.1 * area}

    def predict(self, images, *, probabilities=False):
        shares = self.body(images).sigmoid().cpu().numpy()
        return [InstanceSet.build(one > 0.5, self.things, one.max(axis=(1, 2))) for one in shares]
