"""Several crops and scales of a picture, and labels from their averaged scores."""
