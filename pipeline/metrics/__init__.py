"""One family of scores per file."""

METRICS = {"confusion": "pipeline.metrics.confusion:Confusion"}
