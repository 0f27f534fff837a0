"""ESPnet's modules, eager: its options, names and state_dict."""
