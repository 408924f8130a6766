"""From a trained checkpoint to the one file that screening loads."""
