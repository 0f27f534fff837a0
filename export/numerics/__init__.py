"""Rounding, summation and quantisation, as runtimes do them."""
