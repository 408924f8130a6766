"""What a GPU is worth: latency, throughput, engines, frames."""
