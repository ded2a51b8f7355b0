"""One loss per file."""

LOSSES = {
    "balanced_cross_entropy": "pipeline.losses.balanced_cross_entropy:balanced_cross_entropy",
    "binary_cross_entropy": "pipeline.losses.binary_cross_entropy:binary_cross_entropy",
    "boundary": "pipeline.losses.boundary:boundary",
    "cross_entropy": "pipeline.losses.cross_entropy:cross_entropy",
    "dice": "pipeline.losses.dice:dice",
    "focal": "pipeline.losses.focal:focal",
    "focal_tversky": "pipeline.losses.focal_tversky:focal_tversky",
    "iou_balanced": "pipeline.losses.iou_balanced:iou_balanced",
    "jaccard": "pipeline.losses.jaccard:jaccard",
    "lovasz": "pipeline.losses.lovasz:lovasz",
    "own": "pipeline.losses.own:own",
    "sensitivity_specificity": "pipeline.losses.sensitivity_specificity:sensitivity_specificity",
    "shape_aware": "pipeline.losses.shape_aware:shape_aware",
    "tversky": "pipeline.losses.tversky:tversky",
    "weighted_binary_cross_entropy": "pipeline.losses.weighted_binary_cross_entropy:weighted_binary_cross_entropy",
}
