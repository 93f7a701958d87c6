"""Send a package to the Model Zoo, as a draft that waits for its reviewers."""
