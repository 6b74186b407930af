"""From the pictures of a video to a scene: detection, tracking, motion."""
