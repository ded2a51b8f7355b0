"""Each connected part of a thing class is a thing: things that touch are one."""

from pipeline.postprocess._division import connected, divided
from pipeline.structures import LabelSpace, PanopticMap, SemanticMap


def components(prediction: SemanticMap, *, label_space: LabelSpace, area_px: int = 1) -> PanopticMap:
    """Pixels of a thing class that touch, at a side or a corner, are one thing.

    Parameters
    ----------
    prediction : of any method; scores of things as in `pipeline.postprocess._division`
    area_px : things of fewer pixels are dropped; 1 keeps every speck

    Returns
    -------
    PanopticMap of the same size; void and what is dropped is 0.
    """
    return divided(prediction, label_space, connected, area_px=area_px)
