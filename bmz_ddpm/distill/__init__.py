"""Train a student that says in one network pass what the sampler's many samples say together."""
