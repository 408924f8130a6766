"""A run held against labels: figures, calibration and thresholds, by numpy alone."""
