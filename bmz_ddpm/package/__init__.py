"""Build BioImage Model Zoo packages."""
