"""Two kinds of pixel: light ones with all that is fairly light and touches them, and the rest."""

import cv2
import numpy as np

from pipeline.classical._method import VotedSegments, grey
from pipeline.classical._otsu import histogram, otsu_thresholds
from pipeline.structures import LabelSpace

RULES = {"grey": (None, None), "multi_otsu": (None, None), "otsu": (0.8, 1.2)}  # with the defaults of low and high


class HysteresisThreshold(VotedSegments):
    """Keeps the parts above a low threshold that reach above a high one; they and the rest get their class by vote.

    Parameters
    ----------
    rule : where the two thresholds come from. "multi_otsu": the picture's two thresholds between three levels; "otsu": its Otsu
        threshold times `low` and `high`; "grey": `low` and `high` as grey values, the same for all pictures
    low, high : factors (rule "otsu", by default 0.8 and 1.2) or grey values (rule "grey", needed there), low <= high; not given
        with rule "multi_otsu". A pixel is above a threshold where its grey value is greater
    connectivity : 4 or 8, the neighbours by which parts hang together

    References
    ----------
    Canny 1986, A computational approach to edge detection, IEEE TPAMI 8(6), there for the strength of edges.
    """

    num_segments = 2

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        rule: str = "multi_otsu",
        low: float | None = None,
        high: float | None = None,
        connectivity: int = 8,
    ):
        super().__init__(label_space)
        if rule not in RULES:
            raise ValueError(f"hysteresis_threshold: rule is {rule!r}; choose one of: {', '.join(RULES)}")
        if connectivity not in (4, 8):
            raise ValueError(f"hysteresis_threshold: connectivity is {connectivity}; choose 4 or 8")
        if rule == "multi_otsu" and (low, high) != (None, None):
            raise ValueError(f"hysteresis_threshold: low is {low} and high {high}; rule multi_otsu finds them, give none")
        low, high = (default if one is None else one for one, default in zip((low, high), RULES[rule], strict=True))
        if rule != "multi_otsu" and (low is None or high is None or not 0 <= low <= high < np.inf):
            raise ValueError(f"hysteresis_threshold: low is {low} and high {high}; give 0 <= low <= high for rule {rule}")
        self.rule, self.low, self.high, self.connectivity = rule, low, high, connectivity

    def segments(self, image, prompt=None):
        brightness = grey(image)
        low, high = self._thresholds(brightness)
        _, fair = cv2.threshold(brightness, min(low, 255), 1, cv2.THRESH_BINARY)
        count, parts = cv2.connectedComponents(fair, connectivity=self.connectivity)
        is_strong = brightness > int(high)  # whole numbers: all are above 8.7 that are above 8
        begins = is_strong.copy()  # one look-up for each run of strong pixels in a row: they are of one part
        np.greater(is_strong[:, 1:], is_strong[:, :-1], out=begins[:, 1:])
        is_kept = np.zeros(max(count, 1 << 16), np.uint8)
        is_kept[parts[begins]] = 1
        if count > 1 << 16:
            return is_kept[parts]
        return cv2.LUT(parts.astype(np.uint16), is_kept[None])  # five times as fast

    def _thresholds(self, brightness: np.ndarray) -> tuple[float, float]:
        if self.rule == "grey":
            return self.low, self.high
        found = otsu_thresholds(histogram(brightness), 3 if self.rule == "multi_otsu" else 2)
        found = found or [float(brightness.max())]  # one grey value only: nothing is above it
        return (found[0], found[-1]) if self.rule == "multi_otsu" else (found[0] * self.low, found[0] * self.high)
