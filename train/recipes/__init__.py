"""The steps from films to a calibrated model."""
