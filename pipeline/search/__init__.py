"""The formats of a package found instead of written: sensitivity × error of each format, chosen exactly, measured."""
