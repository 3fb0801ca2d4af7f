"""Folders and archives as one thing: files with names."""
