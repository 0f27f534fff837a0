"""The proof that an artifact computes what the eager module does."""
