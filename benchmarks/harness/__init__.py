"""What all benchmarks share: engines in processes of their own, what they use, and in which order they run."""
