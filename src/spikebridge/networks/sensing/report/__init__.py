"""Pages of a training run and of a tracked recording, animations, and files for the Rerun viewer."""
