"""Events of a run, and the subscribers that show or keep them."""
