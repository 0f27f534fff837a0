"""Ordinary modules that the gate must judge rightly, tried by `make zoo`: minutes, so no test."""
