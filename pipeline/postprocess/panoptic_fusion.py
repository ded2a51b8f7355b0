"""Join a semantic and an instance prediction into a panoptic one."""

from pipeline.painting import fused
from pipeline.structures import InstanceSet, LabelSpace, PanopticMap, Prediction


def panoptic_fusion(
    semantic: Prediction,
    instance: Prediction,
    *,
    label_space: LabelSpace,
    score_threshold: float = 0.5,
    overlap_threshold: float = 0.5,
    stuff_area_px: int | None = None,
) -> PanopticMap:
    """Things from the instances in score order, stuff from the semantic map around them.

    Parameters
    ----------
    semantic : gives the stuff classes
    instance : an InstanceSet, or a PanopticMap whose objects are taken, or its things where it knows no more
    score_threshold : instances below it are dropped
    overlap_threshold : an instance of which a smaller share than this is still free is dropped
    stuff_area_px : stuff segments of fewer pixels are dropped; None: see `fused`

    Returns
    -------
    PanopticMap of the shape of both, with all instances as its `objects`; pixels that nothing claims are 0.

    Raises
    ------
    ValueError : the shapes differ, or `instance` holds no instances.

    References
    ----------
    Kirillov et al. 2019, Panoptic Segmentation, arXiv:1801.00868, section 7; thresholds as in panopticapi.
    """
    if semantic.shape != instance.shape:
        raise ValueError(f"panoptic_fusion: the semantic map is {semantic.shape} and the instances {instance.shape}")
    if isinstance(instance, PanopticMap):
        instance = instance.instances(label_space) if instance.objects is None else instance.objects
    if not isinstance(instance, InstanceSet):
        raise ValueError(
            f"panoptic_fusion: {type(instance).__name__} holds no instances; name an instance method in the fusion"
        )
    return fused(
        instance,
        semantic.semantic(label_space),
        label_space=label_space,
        score_threshold=score_threshold,
        overlap_threshold=overlap_threshold,
        stuff_area_px=stuff_area_px,
    )
