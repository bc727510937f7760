"""What builds and checks the kit, and what no learner imports: notebooks, their comparison, benchmarks, pretraining."""
