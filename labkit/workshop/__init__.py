"""What builds and checks the kit, and no learner imports: notebooks, their comparison, benchmarks, pretraining."""
