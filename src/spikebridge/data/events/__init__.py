"""Events of event cameras: arrays, files of all formats, and bins of time."""
