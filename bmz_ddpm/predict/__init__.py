"""Denoise files of any size: block by block, on one machine or many, resumed where it stopped."""
