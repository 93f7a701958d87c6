"""Fit a denoiser and keep it."""
