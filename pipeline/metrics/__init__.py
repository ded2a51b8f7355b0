"""One family of scores per file."""

METRICS = {
    "confusion": "pipeline.metrics.confusion:Confusion",
    "boundary": "pipeline.metrics.boundary:Boundary",
    "calibration": "pipeline.metrics.calibration:Calibration",
    "instances": "pipeline.metrics.instances:Instances",
    "panoptic": "pipeline.metrics.panoptic:Panoptic",
    "segments": "pipeline.metrics.segments:Segments",
}
