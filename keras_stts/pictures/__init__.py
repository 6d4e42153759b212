"""What draws pictures and videos: `keras_stts.visualize` and plots use it."""
