"""The networks of the senses recipe, their parts, and running them on trials."""
