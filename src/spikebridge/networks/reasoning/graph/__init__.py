"""The spiking graph that runs programs about scenes."""
