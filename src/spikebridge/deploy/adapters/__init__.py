"""Adapters: modules of SpikingJelly, snnTorch, Norse and sinabs as parts of a hybrid network."""
