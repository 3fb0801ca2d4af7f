"""Faster backends. A leaf: only the place that chooses a backend imports it, and deleting it leaves the plain one."""
