"""Steps of the optimizer."""
