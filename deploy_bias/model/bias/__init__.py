"""The relative position biases."""
