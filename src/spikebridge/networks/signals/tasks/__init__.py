"""Tasks of the signals recipe: classes of windows, beats of a heart."""
