"""What may follow a prediction, one per file."""

# one semantic prediction, and the picture it was made from, to a better one
POSTPROCESSES = {
    "dense_crf": "pipeline.postprocess.dense_crf:DenseCRF",
    "temperature": "pipeline.postprocess.temperature:Temperature",
}
# a semantic prediction to a panoptic one: how the things of a class are told apart
DIVISIONS = {
    "components": "pipeline.postprocess.components:components",
    "watershed": "pipeline.postprocess.watershed:watershed",
}
# a semantic prediction and an instance prediction to a panoptic one
FUSIONS = {"panoptic_fusion": "pipeline.postprocess.panoptic_fusion:panoptic_fusion"}
