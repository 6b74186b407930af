"""Parts of `peers.py`: layers of the peers, the works, measures of time and memory, and their growth."""
