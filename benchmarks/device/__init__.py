"""What `benchmarks/accelerator.py` runs, on the device it runs on."""
