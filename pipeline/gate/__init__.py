"""The data gate: every fault of a data set, found before it costs a training run. `python -m pipeline.gate` runs it alone."""
