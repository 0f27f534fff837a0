"""From an ESPnet checkpoint to a bundle, and the proof that the bundle is right."""
