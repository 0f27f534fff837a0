"""The commands that need no torch, one file a command; `deploy_bias.export.cli` has them all."""
