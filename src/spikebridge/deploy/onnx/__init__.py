"""ONNX files: writing parts and nonlinearities, running and counting them."""
