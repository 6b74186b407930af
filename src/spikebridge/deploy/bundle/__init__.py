"""Bundles: one folder with a trained network for other machines, as NIR, ONNX and numbers."""
