"""The report's scatter plots: points, labels, drawing."""
