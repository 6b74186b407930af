"""Events from tracks of objects, and the hybrid units that detect collisions and presence."""
