"""The exported twins of the eager modules: static shapes, explicit state."""
