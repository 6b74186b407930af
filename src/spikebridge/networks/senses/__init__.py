"""Parts of the senses recipe."""
