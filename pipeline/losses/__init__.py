"""One loss per file."""

LOSSES = {"cross_entropy": "pipeline.losses.cross_entropy:cross_entropy"}
