"""The sensing network as a tracker: fast inference, detectors, calibration while tracking, confidence."""
