"""The graphs, one file a kind: its contract, its module to export, its references and cases."""
