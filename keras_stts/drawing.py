"""What all plots share: the import of matplotlib, figures and colours."""

INK, GREY = "#1f2328", "#6e7781"


def import_matplotlib():
    """matplotlib, which is optional and imported at the first plot.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import matplotlib.figure
        import matplotlib.ticker  # noqa: F401
    except ImportError as error:
        raise ImportError("Drawing needs it: pip install matplotlib") from error
    return matplotlib


def new_figure(size):
    """A figure of a size in inches, which notebooks display."""
    import_matplotlib()
    from keras_stts._figure import ShownFigure

    figure = ShownFigure(size, dpi=150, layout="compressed")
    figure.get_layout_engine().set(rect=(0.01, 0.02, 0.98, 0.96))
    return figure
