"""Files: paths, readers and atomic writers of images, catalogues and spectra."""
