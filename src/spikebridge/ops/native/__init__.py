"""The native library in plain C, and the pool of memory for large results."""
