"""What `fewshot_km.testing.check_learner` checks: a function for each promise of a learner."""
