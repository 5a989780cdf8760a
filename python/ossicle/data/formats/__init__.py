"""A file for each format, or for those of one family: how its rows are read and written."""
