"""From films to weights: SimCLR pre-training, fine-tuning with few labels, calibration, measurement."""
