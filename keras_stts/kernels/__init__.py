"""What runs attention on which backend and device."""
