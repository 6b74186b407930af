"""One readable file a main job. `spikebridge list` names them, `spikebridge train NAME` runs one.

This file imports nothing, so that recipes can be listed without waking PyTorch.
"""
