"""One classical method per file."""

METHODS = {
    "felzenszwalb": "pipeline.classical.felzenszwalb:Felzenszwalb",
    "kmeans": "pipeline.classical.kmeans:KMeans",
    "majority_class": "pipeline.classical.majority_class:MajorityClass",
    "mean_threshold": "pipeline.classical.mean_threshold:MeanThreshold",
    "otsu": "pipeline.classical.otsu:Otsu",
    "spatial_prior": "pipeline.classical.spatial_prior:SpatialPrior",
}
