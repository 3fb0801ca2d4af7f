"""Faster backends for running many tasks."""
