"""Rows of data sets, and which rows each training step takes."""
