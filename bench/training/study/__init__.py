"""Studies: variants of one training, trained, evaluated on the same images and compared."""
