"""Where cells run: in this process, in others, on a cluster."""
