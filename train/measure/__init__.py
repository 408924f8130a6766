"""How good scores are: figures, plots, cards."""
