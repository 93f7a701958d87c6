"""Images in, training patches out."""
