"""What a model has to beat, trained on the same pairs for the same time."""
