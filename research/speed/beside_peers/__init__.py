"""What `peers.py` measures: the peers' layers, the works, how time and memory are taken, how they grow."""
