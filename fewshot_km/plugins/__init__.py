"""Learners, networks and data sets from outside the package."""
