"""In napari: run a model on the open layer, and open the results of `bmz-ddpm predict`."""
