"""Training: features, clips, the loop that can be picked up, and one module for each thing trained."""
