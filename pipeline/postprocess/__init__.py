"""What may follow a prediction, one per file."""

POSTPROCESSES = {"panoptic_fusion": "pipeline.postprocess.panoptic_fusion:panoptic_fusion"}
