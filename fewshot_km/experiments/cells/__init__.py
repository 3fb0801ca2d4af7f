"""What one cell does."""
