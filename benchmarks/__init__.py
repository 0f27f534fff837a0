"""Ratios against ESPnet, in one process and on one thread: `make bench`."""
