"""From stored accuracies to tables."""
